"""The bounds of passwords, and the time of a failed login. The ids are those of OWASP ASVS 5.0."""

from collections import Counter
from typing import Any

import pytest
from django.contrib.auth.hashers import (
    Argon2PasswordHasher,
    PBKDF2PasswordHasher,
    check_password,
    make_password,
)
from django.contrib.auth.password_validation import (
    password_validators_help_texts,
    validate_password,
)
from django.core.exceptions import ValidationError
from django.test import Client
from django.utils.translation import override
from pytest_django import Settings
from rest_framework.test import APIClient

from apps.user.models import User
from apps.user.tests.factories import PASSWORD, make_user, registration

AUTH = "/api/v1/auth"

pytestmark = pytest.mark.django_db


class TestBounds:
    """6.2.1, 6.2.9"""

    @pytest.mark.parametrize(
        "password", ["x7" * 64 + "y", " " * 8, "\u3000" * 8, "\t \u00a0 \u2003   "]
    )
    def test_password_bounds_are_validators(self, api: APIClient, password: str) -> None:
        """Every way to set a password runs them: the API, the admin and the commands."""
        with pytest.raises(ValidationError):
            validate_password(password)
        refused = api.post(f"{AUTH}/register/", registration(password=password))
        assert (refused.status_code, list(refused.json())) == (400, ["password"])

    def test_the_longest_password_that_can_be_set_logs_in(self, api: APIClient) -> None:
        password = "x7" * 64
        validate_password(password)
        user = make_user(password)
        body = {"email": user.email, "password": password}
        assert api.post(f"{AUTH}/login/", body).status_code == 200

    def test_a_longer_existing_password_still_logs_in(self, api: APIClient) -> None:
        user = make_user("x7" * 77)
        body = {"email": user.email, "password": "x7" * 77}
        assert api.post(f"{AUTH}/login/", body).status_code == 200

    def test_the_admin_site_shows_the_bounds_of_passwords(self) -> None:
        with override("en"):
            assert password_validators_help_texts()[-1] == (
                "Your password must contain at most 128 characters, not only spaces."
            )


class TestLoginTime:
    """6.3.8. Counts the runs of each hasher instead of measuring time."""

    @pytest.fixture(autouse=True)
    def hashers(self, settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(PBKDF2PasswordHasher, "iterations", 1000)
        settings.PASSWORD_HASHERS = [
            "apps.user.hashers.OwaspArgon2PasswordHasher",
            "django.contrib.auth.hashers.PBKDF2PasswordHasher",
        ]

    @pytest.fixture
    def work(self, monkeypatch: pytest.MonkeyPatch) -> Counter[str]:
        """The iterations of PBKDF2 and the passes of Argon2 since the start of the test."""
        done: Counter[str] = Counter()
        pbkdf2, argon2 = PBKDF2PasswordHasher.encode, Argon2PasswordHasher.encode
        verify = Argon2PasswordHasher.verify

        def count_pbkdf2(self: Any, password: str, salt: str, iterations: int | None = None) -> str:
            done["pbkdf2"] += iterations or self.iterations
            return pbkdf2(self, password, salt, iterations)

        def count_argon2(self: Any, *args: Any) -> str:
            done["argon2"] += 1
            return argon2(self, *args)

        def count_verify(self: Any, *args: Any) -> bool:
            done["argon2"] += 1
            return verify(self, *args)

        monkeypatch.setattr(PBKDF2PasswordHasher, "encode", count_pbkdf2)
        monkeypatch.setattr(Argon2PasswordHasher, "encode", count_argon2)
        monkeypatch.setattr(Argon2PasswordHasher, "verify", count_verify)
        return done

    @pytest.mark.parametrize("door", ["api", "admin"])
    def test_a_failed_login_costs_the_same_for_every_account(
        self, work: Counter[str], door: str
    ) -> None:
        current, older, oldest, disabled = (make_user() for _ in range(4))
        pbkdf2 = PBKDF2PasswordHasher()
        for user, password in (
            (older, pbkdf2.encode(PASSWORD, pbkdf2.salt())),
            (oldest, pbkdf2.encode(PASSWORD, pbkdf2.salt(), 400)),
            (disabled, make_password(None)),
        ):
            User.objects.filter(pk=user.pk).update(password=password)
        costs = []
        for email in [u.email for u in (current, older, oldest, disabled)] + ["x@example.com"]:
            work.clear()
            if door == "api":
                APIClient().post(f"{AUTH}/login/", {"email": email, "password": "wrong"})
            else:
                Client().post("/admin/login/", {"username": email, "password": "wrong"})
            costs.append(dict(work))
        assert costs == [{"argon2": 1, "pbkdf2": 1000}] * 5

    def test_without_older_passwords_no_older_hasher_runs(
        self, api: APIClient, work: Counter[str]
    ) -> None:
        make_user()
        work.clear()
        api.post(f"{AUTH}/login/", {"email": "x@example.com", "password": "wrong"})
        assert work == {"argon2": 1}

    def test_an_older_password_logs_in_and_is_hashed_again(self, api: APIClient) -> None:
        user = make_user()
        pbkdf2 = PBKDF2PasswordHasher()
        User.objects.update(password=pbkdf2.encode(PASSWORD, pbkdf2.salt()))
        body = {"email": user.email, "password": PASSWORD}
        assert api.post(f"{AUTH}/login/", body).status_code == 200
        user.refresh_from_db()
        assert user.password.startswith("argon2$")
        assert check_password(PASSWORD, user.password)
