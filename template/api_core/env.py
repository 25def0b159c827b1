"""Read environment variables and ``.env``, and validate values for production.

Importing this module loads ``.env`` into ``os.environ``, for libraries too.
"""

import os
import re
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from email.utils import parseaddr
from importlib.util import find_spec
from pathlib import Path
from urllib.parse import urlsplit

from django.core.exceptions import ValidationError as InvalidAddressError
from django.core.validators import EmailValidator
from dotenv import load_dotenv
from environs import Env, EnvError, ValidationError

BASE_DIR = Path(__file__).resolve().parent.parent
LOOPBACK = {"localhost", "127.0.0.1", "::1"}


def load_env_file(path: Path) -> None:
    """Load a file into ``os.environ``. Variables that already exist are not changed."""
    try:
        # Without interpolation, "$" in a password stays as written.
        load_dotenv(path, interpolate=False)
    except OSError as error:
        sys.exit(f"Configuration error: {path} cannot be read: {error.strerror}")
    except ValueError:  # bytes that are not UTF-8, or a NUL, as in UTF-16
        sys.exit(f"Configuration error: {path} is not encoded in UTF-8")


load_env_file(BASE_DIR / ".env")

# Deferred validation: env.seal() raises one error for all variables that are missing or invalid.
# https://github.com/sloria/environs#deferred-validation
env = Env(eager=False)


@contextmanager
def exit_on_bad_variable() -> Iterator[None]:
    """Exit with status 1 and one line for each variable that is missing or invalid."""
    try:
        yield
    except EnvError as error:
        found = getattr(error, "error_messages", None)
        lines = (
            [f"{name}: {' '.join(dict.fromkeys(map(str, each)))}" for name, each in found.items()]
            if isinstance(found, dict)
            else [str(error)]
        )
        module = os.environ.get("DJANGO_SETTINGS_MODULE")
        sys.exit("\n  ".join([f"Configuration error in {module}:", *lines]))


def strong_secret(value: str) -> None:
    """Refuse a weak key, by the rules of Django's check ``security.W009``."""
    if len(value) < 50 or len(set(value)) < 5 or "insecure" in value:
        raise ValidationError("Must be at least 50 random characters.")


def strong_secrets(values: list[str]) -> None:
    """Refuse an empty list and weak keys."""
    if not values:
        raise ValidationError("Must not be empty. Remove it if there are no previous keys.")
    for value in values:
        strong_secret(value)


def host_names(hosts: list[str]) -> None:
    """Refuse values that never match a Host header, and the wildcard that always does."""
    name = re.compile(r"\.?\w([\w.-]*\w)?|\[[\da-f:.]+\]", re.ASCII | re.IGNORECASE)
    if not (hosts and all(map(name.fullmatch, hosts))):
        raise ValidationError("Must be host names without a scheme, a port or *: api.example.com")


def https_url(value: str) -> None:
    """Refuse URLs without TLS, except on this machine: links contain tokens."""
    error = ValidationError("Must be a URL that starts with https://.")
    try:
        url = urlsplit(value)
    except ValueError:
        raise error from None
    local = url.scheme == "http" and url.hostname in LOOPBACK
    if not (url.hostname and (url.scheme == "https" or local)):
        raise error


def sender(value: str) -> None:
    """Refuse values that mail servers do not accept as a From header."""
    _name, address = parseaddr(value)
    try:
        EmailValidator(allowlist=[])(address if value.isprintable() else "")
    except InvalidAddressError as error:
        raise ValidationError("Must be an e-mail address: Name <name@example.com>") from error


def encrypted_login(host: str, port: int | None) -> Callable[[str], None]:
    """Return a validator of the user name, which refuses a login to this server without TLS."""

    def validate(username: str) -> None:
        # The port is None if it is invalid itself.
        if username and port not in {465, 587, None} and host not in LOOPBACK:
            raise ValidationError("Would be sent unencrypted. Set EMAIL_PORT to 587 or 465.")

    return validate


def switched_off(value: bool) -> None:  # noqa: FBT001 - the signature of a validator
    """Refuse a development switch in production."""
    if value:
        raise ValidationError("Must be off in production.")


def sentry_dsn(value: str) -> None:
    """Refuse what is not a DSN, and any if its package is not installed."""
    if value and not re.fullmatch(r"https?://[^\s/@]+@[^\s/@]+/(\S+/)?\d+", value):
        raise ValidationError("Must be the DSN of a Sentry project: https://KEY@HOST/PROJECT")
    if value:
        installed("sentry_sdk")


def otlp_endpoint(value: str) -> None:
    """Refuse what is not the URL of an OTLP receiver, and any if its packages are not installed."""
    if value and not re.fullmatch(r"https?://[^\s/]+(/\S*)?", value):
        raise ValidationError("Must be the URL of an OTLP/HTTP receiver: http://HOST:4318")
    if value:
        installed("opentelemetry")


def installed(module: str) -> None:
    """Refuse a variable whose packages are not installed."""
    if find_spec(module) is None:
        raise ValidationError("Needs more packages: pip install -r requirements-observability.txt")
