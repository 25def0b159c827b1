"""The environment: variables of the process first, then the file ``.env``.

The validators below are for production, where a weak value is as wrong as none.
"""

import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlsplit

from environs import Env, EnvError, ValidationError

BASE_DIR = Path(__file__).resolve().parent.parent

env = Env()
env.read_env(str(BASE_DIR / ".env"), recurse=False)


@contextmanager
def exit_on_bad_variable() -> Iterator[None]:
    """Turn a missing or refused variable into one line that names it, and exit status 1."""
    try:
        yield
    except EnvError as error:
        sys.exit("Configuration error: " + re.sub(r"\['(.*)'\]", r"\1", str(error)))


def strong_secret(value: str) -> None:
    """Refuse a key that can be guessed (Django's own bounds, security.W009)."""
    if len(value) < 50 or len(set(value)) < 5 or "insecure" in value:
        raise ValidationError("needs 50 random characters or more")


def named_hosts(hosts: list[str]) -> None:
    """Refuse no host at all, and the wildcard that accepts every Host header."""
    if not any(hosts) or "*" in hosts:
        raise ValidationError("needs the host names of this service, without *")


def https_url(value: str) -> None:
    """Refuse an address whose links would carry tokens in clear over a network."""
    url = urlsplit(value)
    local = url.scheme == "http" and url.hostname in {"localhost", "127.0.0.1"}
    if not (url.hostname and (url.scheme == "https" or local)):
        raise ValidationError("needs a URL that starts with https://")


def switched_off(value: bool) -> None:  # noqa: FBT001 - a validator gets its value alone
    """Refuse a development switch in production."""
    if value:
        raise ValidationError("must be off in production")
