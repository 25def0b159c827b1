"""Environment variables, ``.env``, and the validators of production."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from environs import Env, ValidationError

from api_core.env import (
    BASE_DIR,
    encrypted_login,
    exit_on_bad_variable,
    host_names,
    https_url,
    load_env_file,
    sender,
    strong_secret,
    strong_secrets,
    switched_off,
)
from api_core.mailers import smtp_mailers

SECRET = "T5fQb0Z8xJr2wKcVn7yLsE4uHg9DiAo1PmXtRkYzWvNqBjSe6C"


@pytest.fixture
def env_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A file to load, whose variables are removed after the test."""
    monkeypatch.delenv("PYTHON_DOTENV_DISABLED")
    for name in ("SET", "UNSET"):
        # setenv first, so that the variable is restored even if it does not exist now.
        monkeypatch.setenv(name, "")
        monkeypatch.delenv(name)
    return tmp_path / ".env"


@pytest.mark.parametrize(
    ("line", "value"),
    [
        ("UNSET=pa$$word$HOME${HOME}", "pa$$word$HOME${HOME}"),
        ("UNSET='single $HOME'", "single $HOME"),
        ('UNSET="double $HOME"', "double $HOME"),
        ("UNSET=a#b # a comment", "a#b"),
        ("export UNSET = é", "é"),
        ("UNSET=a\r", "a"),
        ("\ufeffUNSET=a", "a"),
    ],
)
def test_values_in_the_file_are_not_changed(env_file: Path, line: str, value: str) -> None:
    env_file.write_bytes(f"{line}\n".encode())
    load_env_file(env_file)
    assert os.environ["UNSET"] == value


def test_the_environment_takes_precedence_over_the_file(
    env_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SET", "exported")
    env_file.write_text("SET=file\nUNSET=file\n")
    load_env_file(env_file)
    assert (os.environ["SET"], os.environ["UNSET"]) == ("exported", "file")


def test_the_env_file_is_optional(env_file: Path) -> None:
    load_env_file(env_file)
    assert "UNSET" not in os.environ


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-le", "utf-16-be", "utf-32", "latin-1"])
def test_a_file_in_another_encoding_is_named(env_file: Path, encoding: str) -> None:
    env_file.write_text("UNSET=é\nSET=a\n", encoding=encoding)
    with pytest.raises(SystemExit) as stopped:
        load_env_file(env_file)
    assert stopped.value.code == f"Configuration error: {env_file} is not encoded in UTF-8"


def test_variables_of_the_shell_do_not_reach_the_tests() -> None:
    hostile = {
        "DJANGO_DEBUG": "maybe",
        "NUM_PROXIES": "-1",
        "EMAIL_PORT": "smtp",
        "REQUIRE_CONFIRMED_EMAIL": "false",
    }
    code = "import json, os, api_core.settings.test; print(json.dumps(dict(os.environ)))"
    ran = subprocess.run(  # noqa: S603 - our own code
        [sys.executable, "-c", code],
        cwd=BASE_DIR,
        env=os.environ | hostile,
        check=True,
        capture_output=True,
    )
    assert not hostile.keys() & json.loads(ran.stdout).keys()


@pytest.mark.parametrize("secret", ["", "short", "a" * 60, "django-insecure-" + "k3y" * 20])
def test_weak_secrets_are_refused(secret: str) -> None:
    with pytest.raises(ValidationError):
        strong_secret(secret)
    with pytest.raises(ValidationError):
        strong_secrets([SECRET, secret, SECRET])


def test_an_empty_list_of_previous_keys_is_refused() -> None:
    with pytest.raises(ValidationError):
        strong_secrets([])


@pytest.mark.parametrize(
    "host",
    [
        "",
        "*",
        "*.example.com",
        "https://api.example.com",
        "api.example.com:443",
        "api.example.com/",
        "api example.com",
        "bücher.example",
        "::1",
        "api.example.com.",
    ],
)
def test_invalid_host_names_are_refused(host: str) -> None:
    with pytest.raises(ValidationError):
        host_names(["api.example.com", host])


def test_an_empty_list_of_hosts_is_refused() -> None:
    with pytest.raises(ValidationError):
        host_names([])


@pytest.mark.parametrize(
    "url",
    [
        "",
        "api.example.com",
        "http://api.example.com",
        "https://",
        "http://localhost.evil.io",
        "https://[",
    ],
)
def test_urls_without_tls_are_refused(url: str) -> None:
    with pytest.raises(ValidationError):
        https_url(url)


@pytest.mark.parametrize(
    "address",
    [
        "",
        "noreply",
        "My Service",
        "My, Service <noreply@example.com>",
        "noreply@localhost",
        "a@example.com, b@example.com",
        "noreply@example.com\nBcc: a@example.com",
        "My\nService <noreply@example.com>",
    ],
)
def test_invalid_senders_are_refused(address: str) -> None:
    with pytest.raises(ValidationError):
        sender(address)


@pytest.mark.parametrize("port", [25, 2525])
def test_a_login_without_tls_is_refused(port: int) -> None:
    with pytest.raises(ValidationError):
        encrypted_login("smtp.example.com", port)("service")
    encrypted_login("smtp.example.com", port)("")
    encrypted_login("127.0.0.1", port)("service")


def test_development_switches_are_refused_in_production() -> None:
    with pytest.raises(ValidationError):
        switched_off(True)


def test_values_for_production_are_accepted() -> None:
    strong_secret(SECRET)
    strong_secrets([SECRET])
    host_names(["api.example.com", ".example.com", "localhost", "192.0.2.1", "[2001:DB8::1]"])
    https_url("https://api.example.com")
    https_url("http://localhost:8000")
    sender("noreply@example.com")
    sender("Serviço d'Água <noreply@example.com>")
    encrypted_login("smtp.example.com", 465)("service")
    encrypted_login("smtp.example.com", 587)("service")
    switched_off(False)


@pytest.mark.parametrize(
    ("port", "use_ssl", "use_tls"), [(465, True, False), (587, False, True), (1025, False, False)]
)
def test_the_port_selects_tls(port: int, use_ssl: bool, use_tls: bool) -> None:
    options = smtp_mailers("smtp.example.com", port, "", "")["default"]["OPTIONS"]
    assert (options["use_ssl"], options["use_tls"]) == (use_ssl, use_tls)


def test_every_invalid_variable_is_listed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EMAIL_PORT", "five")
    monkeypatch.setenv("DJANGO_SETTINGS_MODULE", "api_core.settings.prod")
    env = Env(eager=False)
    env.int("EMAIL_PORT")
    env.str("EMAIL_HOST")
    env.str("EMAIL_HOST")
    with pytest.raises(SystemExit) as stopped, exit_on_bad_variable():
        env.seal()
    assert stopped.value.code == (
        "Configuration error in api_core.settings.prod:\n"
        "  EMAIL_PORT: Not a valid integer.\n"
        "  EMAIL_HOST: Environment variable not set."
    )


def test_a_variable_that_is_read_later_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DJANGO_SETTINGS_MODULE", "api_core.settings.prod")
    with pytest.raises(SystemExit) as stopped, exit_on_bad_variable():
        Env().str("EMAIL_HOST")
    assert stopped.value.code == (
        "Configuration error in api_core.settings.prod:\n"
        '  Environment variable "EMAIL_HOST" not set'
    )
