"""Production refuses what is weak; a variable that is wrong or missing is named in one line."""

import pytest
from environs import Env, ValidationError

from api_core.env import exit_on_bad_variable, https_url, named_hosts, strong_secret, switched_off


@pytest.mark.parametrize("secret", ["", "short", "a" * 60, "django-insecure-" + "k3y" * 20])
def test_weak_secrets(secret: str) -> None:
    with pytest.raises(ValidationError):
        strong_secret(secret)


@pytest.mark.parametrize("hosts", [[], [""], ["*"], ["api.example.com", "*"]])
def test_hosts_that_are_no_names(hosts: list[str]) -> None:
    with pytest.raises(ValidationError):
        named_hosts(hosts)


@pytest.mark.parametrize(
    "url", ["", "api.example.com", "http://api.example.com", "https://", "http://localhost.evil.io"]
)
def test_addresses_in_clear(url: str) -> None:
    with pytest.raises(ValidationError):
        https_url(url)


def test_what_production_takes() -> None:
    strong_secret("T5fQb0Z8xJr2wKcVn7yLsE4uHg9DiAo1PmXtRkYzWvNqBjSe6C")
    named_hosts(["api.example.com"])
    https_url("https://api.example.com")
    https_url("http://localhost:8000")
    switched_off(False)


def test_development_switches() -> None:
    with pytest.raises(ValidationError):
        switched_off(True)


def test_the_variable_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EMAIL_PORT", "five")
    with pytest.raises(SystemExit) as stopped, exit_on_bad_variable():
        Env().int("EMAIL_PORT")
    assert str(stopped.value) == (
        'Configuration error: Environment variable "EMAIL_PORT" invalid: Not a valid integer.'
    )
