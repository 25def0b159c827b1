"""Attacks that must fail. The ids are those of OWASP ASVS 5.0."""

import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from typing import Any

import jwt
import pytest
from django.conf import settings as django_settings
from django.contrib.auth.hashers import identify_hasher, make_password
from django.core.mail import EmailMessage
from django.db import IntegrityError, connection, connections, transaction
from django.db.models.expressions import RawSQL
from django.test import Client
from django.test.utils import CaptureQueriesContext
from pytest_django import Settings
from rest_framework.response import Response
from rest_framework.settings import api_settings
from rest_framework.test import APIClient
from rest_framework.throttling import SimpleRateThrottle

from apps.user import services
from apps.user.models import User
from apps.user.tests.factories import PASSWORD, make_token, make_user, registration
from apps.user.tokens import confirm_email_token, reset_password_token
from common.drf.models import Counter

Delivered = Callable[[], Sequence[EmailMessage]]
AUTH = "/api/v1/auth"
ME = "/api/v1/users/me/"

pytestmark = pytest.mark.django_db


def bearer(token: str) -> APIClient:
    client = APIClient()
    client.credentials(HTTP_AUTHORIZATION=f"Bearer {token}")
    return client


class TestOneTimeTokens:
    """6.4.1, 6.4.3, 9.2.2"""

    def test_reset_token_works_once(self, api: APIClient, user: User) -> None:
        token = reset_password_token.issue(user).token
        body = {"token": token, "password": "another horse"}
        assert api.post(f"{AUTH}/reset_password/", body).status_code == 200
        assert api.post(f"{AUTH}/reset_password/", body).status_code == 400

    def test_confirmation_token_works_once(self, api: APIClient) -> None:
        token = confirm_email_token.issue(make_user(email_confirmed_at=None)).token
        assert api.post(f"{AUTH}/confirm_email/", {"token": token}).status_code == 200
        assert api.post(f"{AUTH}/confirm_email/", {"token": token}).status_code == 400

    def test_confirmation_token_does_not_reset_a_password(self, api: APIClient) -> None:
        token = confirm_email_token.issue(make_user(email_confirmed_at=None)).token
        body = {"token": token, "password": "another horse"}
        assert api.post(f"{AUTH}/reset_password/", body).status_code == 400
        assert reset_password_token.user_id(token) is None

    def test_reset_token_does_not_confirm_an_address(self, api: APIClient) -> None:
        token = reset_password_token.issue(make_user(email_confirmed_at=None)).token
        assert api.post(f"{AUTH}/confirm_email/", {"token": token}).status_code == 400
        assert confirm_email_token.user_id(token) is None

    def test_one_time_token_is_rejected_as_a_jwt(self, user: User) -> None:
        assert bearer(reset_password_token.issue(user).token).get(ME).status_code == 401
        assert bearer(confirm_email_token.issue(user).token).get(ME).status_code == 401

    def test_jwt_is_rejected_as_a_one_time_token(self, api: APIClient, user: User) -> None:
        body = {"token": make_token(user), "password": "another horse"}
        assert api.post(f"{AUTH}/reset_password/", body).status_code == 400

    def test_changing_the_password_ends_reset_tokens(self, api: APIClient, user: User) -> None:
        token = reset_password_token.issue(user).token
        services.change_password(user, current_password=PASSWORD, password="another horse")
        body = {"token": token, "password": "a third horse"}
        assert api.post(f"{AUTH}/reset_password/", body).status_code == 400

    def test_reset_token_does_not_reactivate_a_banned_user(
        self, api: APIClient, user: User, delivered: Delivered
    ) -> None:
        token = reset_password_token.issue(user).token
        User.objects.update(is_active=False)
        body = {"token": token, "password": "another horse"}
        assert api.post(f"{AUTH}/reset_password/", body).status_code == 400
        api.post(f"{AUTH}/forgot_password/", {"email": user.email})
        assert not delivered()

    @pytest.mark.parametrize(
        ("kind", "lifetime"),
        [(reset_password_token, timedelta(hours=1)), (confirm_email_token, timedelta(hours=24))],
    )
    def test_one_time_token_expires(
        self, kind: Any, lifetime: timedelta, user: User, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        token = kind.issue(user).token
        now = time.time()
        monkeypatch.setattr(time, "time", lambda: now + lifetime.total_seconds() - 5)
        assert kind.fits(token, user)
        monkeypatch.setattr(time, "time", lambda: now + lifetime.total_seconds() + 5)
        assert not kind.fits(token, user)

    @pytest.mark.parametrize("token", ["", "x", "a:b:c", "💥", "ey" * 500, None, 1, ["x"], {}])
    def test_malformed_one_time_token_is_rejected(self, api: APIClient, token: object) -> None:
        response = api.post(f"{AUTH}/confirm_email/", {"token": token})
        assert (response.status_code, list(response.json())) == (400, ["token"])

    def test_a_weak_password_does_not_use_up_the_token(self, api: APIClient, user: User) -> None:
        token = reset_password_token.issue(user).token
        weak = api.post(f"{AUTH}/reset_password/", {"token": token, "password": "123"})
        assert (weak.status_code, list(weak.json())) == (400, ["password"])
        body = {"token": token, "password": "another horse"}
        assert api.post(f"{AUTH}/reset_password/", body).status_code == 200


class TestJwt:
    """7.4.1, 9.1.1 to 9.2.4"""

    @pytest.fixture
    def claims(self, user: User) -> dict[str, Any]:
        return jwt.decode(make_token(user), options={"verify_signature": False})

    def test_unsigned_jwt_is_rejected(self, claims: dict[str, Any]) -> None:
        assert bearer(jwt.encode(claims, "", algorithm="none")).get(ME).status_code == 401

    def test_jwt_signed_with_another_key_is_rejected(self, claims: dict[str, Any]) -> None:
        forged = jwt.encode(claims, "another key " * 5, algorithm="HS256")
        assert bearer(forged).get(ME).status_code == 401

    def test_jwt_of_another_type_is_rejected(self, claims: dict[str, Any]) -> None:
        key = django_settings.SECRET_KEY
        refresh = jwt.encode(claims | {"token_type": "refresh"}, key, algorithm="HS256")
        assert bearer(refresh).get(ME).status_code == 401
        same = jwt.encode(claims, key, algorithm="HS256")
        assert bearer(same).get(ME).status_code == 200

    def test_expired_jwt_is_rejected(self, claims: dict[str, Any]) -> None:
        claims |= {"exp": int(time.time()) - 60}
        old = jwt.encode(claims, django_settings.SECRET_KEY, algorithm="HS256")
        assert bearer(old).get(ME).status_code == 401

    def test_jwt_contains_no_personal_data(self, claims: dict[str, Any]) -> None:
        assert set(claims) == {"token_type", "exp", "iat", "jti", "sub"}

    def test_jwt_of_an_inactive_user_is_rejected(self, user_api: APIClient, user: User) -> None:
        User.objects.update(is_active=False)
        assert user_api.get(ME).status_code == 401

    def test_resetting_the_password_ends_jwts(self, user_api: APIClient, user: User) -> None:
        token = reset_password_token.issue(user).token
        services.reset_password(token=token, password="another horse")
        assert user_api.get(ME).status_code == 401

    def test_setting_the_password_in_the_admin_ends_jwts(
        self, user_api: APIClient, user: User
    ) -> None:
        user.set_password("another horse")
        user.save()
        assert user_api.get(ME).status_code == 401

    def test_a_token_issued_while_the_hash_is_renewed_works(
        self, api: APIClient, settings: Settings
    ) -> None:
        user = make_user()
        settings.PASSWORD_HASHERS = [
            "apps.user.hashers.OwaspArgon2PasswordHasher",
            "django.contrib.auth.hashers.MD5PasswordHasher",
        ]
        login = api.post(f"{AUTH}/login/", {"email": user.email, "password": PASSWORD})
        assert bearer(login.json()["token"]).get(ME).status_code == 200
        user.refresh_from_db()
        assert identify_hasher(user.password).algorithm == "argon2"


class TestAccountsStaySecret:
    """6.3.8: the same response for known and unknown accounts."""

    @pytest.mark.parametrize("path", ["forgot_password", "resend_confirmation"])
    def test_known_and_unknown_addresses_get_the_same_response(
        self, api: APIClient, user: User, path: str
    ) -> None:
        known = api.post(f"{AUTH}/{path}/", {"email": user.email})
        unknown = api.post(f"{AUTH}/{path}/", {"email": "nobody@example.com"})
        assert (known.status_code, known.json()) == (unknown.status_code, unknown.json())
        assert "token" not in known.json()

    def test_every_failed_login_gets_the_same_response(self, api: APIClient, user: User) -> None:
        inactive = make_user(is_active=False)
        answers = [
            api.post(f"{AUTH}/login/", {"email": email, "password": password})
            for email, password in [
                (user.email, "wrong"),
                ("nobody@example.com", PASSWORD),
                (inactive.email, PASSWORD),
            ]
        ]
        assert {answer.status_code for answer in answers} == {401}
        assert len({answer.content for answer in answers}) == 1

    def test_an_unknown_account_is_hashed_too(
        self, api: APIClient, user: User, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Counts runs of the hasher instead of measuring time: one for each login."""
        hashed: list[str] = []

        def counting(password: str, *args: Any, **kwargs: Any) -> str:
            hashed.append(password)
            return make_password(password, *args, **kwargs)

        monkeypatch.setattr("django.contrib.auth.base_user.make_password", counting)
        api.post(f"{AUTH}/login/", {"email": "nobody@example.com", "password": "unknown"})
        assert hashed == ["unknown"]

    @pytest.mark.parametrize("path", ["forgot_password", "resend_confirmation"])
    def test_known_and_unknown_addresses_cost_the_same_queries(
        self, api: APIClient, user: User, path: str, settings: Settings
    ) -> None:
        make_user(email="new@example.com", email_confirmed_at=None)
        settings.TASKS = {"default": {"BACKEND": "django_tasks_db.DatabaseBackend"}}
        api.post(f"{AUTH}/{path}/", {"email": "first@example.com"})  # creates the counter
        queries = []
        for email in (user.email, "new@example.com", "nobody@example.com"):
            with CaptureQueriesContext(connection) as captured:
                api.post(f"{AUTH}/{path}/", {"email": email})
            queries.append([query["sql"].split(" ")[0] for query in captured])
        assert queries[0] == queries[1] == queries[2]
        assert "INSERT" in queries[0]

    def test_registering_a_taken_address_notifies_the_owner(
        self, api: APIClient, user: User, delivered: Delivered
    ) -> None:
        response = api.post(f"{AUTH}/register/", registration(email=user.email.upper()))
        assert (response.status_code, list(response.json())) == (400, ["email"])
        assert [email.to for email in delivered()] == [[user.email]]

    def test_production_keeps_the_confirmation_token(
        self, api: APIClient, settings: Settings
    ) -> None:
        settings.REGISTER_RETURNS_CONFIRM_TOKEN = False
        assert api.post(f"{AUTH}/register/", registration()).json()["token"] == ""


class TestThrottles:
    """6.3.1"""

    @pytest.fixture(autouse=True)
    def three_tries(self, monkeypatch: pytest.MonkeyPatch) -> None:
        for scope in ("login-account", "mail-account", "register-account"):
            monkeypatch.setitem(SimpleRateThrottle.THROTTLE_RATES, scope, "3/min")
        monkeypatch.setitem(SimpleRateThrottle.THROTTLE_RATES, "login-address", "5/min")

    def tries(self, api: APIClient, count: int, *, vary: str = "", **extra: Any) -> list[int]:
        """Log in with a wrong password; ``vary`` changes the account or address."""
        codes = []
        for number in range(count):
            email = f"{number if vary == 'email' else 'ana'}@example.com"
            if vary in {"REMOTE_ADDR", "HTTP_X_FORWARDED_FOR"}:
                extra[vary] = f"192.0.2.{number}"
            body = {"email": email, "password": "wrong"}
            codes.append(api.post(f"{AUTH}/login/", body, **extra).status_code)
        return codes

    def test_logins_are_limited_per_account(self, api: APIClient) -> None:
        assert self.tries(api, 4, vary="REMOTE_ADDR") == [401] * 3 + [429]

    def test_the_limit_per_account_ignores_case(self, api: APIClient) -> None:
        self.tries(api, 3)
        response = api.post(f"{AUTH}/login/", {"email": "ANA@Example.com ", "password": "wrong"})
        assert response.status_code == 429
        assert int(response.headers["Retry-After"]) > 0

    def test_logins_are_limited_per_client_address(self, api: APIClient) -> None:
        assert self.tries(api, 6, vary="email") == [401] * 5 + [429]

    def test_a_forwarded_address_is_ignored_by_default(
        self, api: APIClient, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(api_settings, "NUM_PROXIES", 0)
        assert self.tries(api, 4, vary="HTTP_X_FORWARDED_FOR")[-1] == 429
        codes = [
            api.post(
                f"{AUTH}/login/",
                {"email": f"b{number}@example.com", "password": "wrong"},
                HTTP_X_FORWARDED_FOR=f"198.51.100.{number}",
            ).status_code
            for number in range(3)
        ]
        assert codes[-1] == 429

    @pytest.mark.parametrize(
        "header",
        [
            # The client controls the left part, and the proxy adds the right one.
            "10.0.0.{number}, 192.0.2.{customer}",
            # Some proxies add the port as well, which differs for each connection.
            "192.0.2.{customer}:500{number}",
            "[2001:db8:{customer}::1]:500{number}",
        ],
    )
    def test_only_the_address_that_the_proxy_adds_counts(
        self, api: APIClient, monkeypatch: pytest.MonkeyPatch, header: str
    ) -> None:
        monkeypatch.setattr(api_settings, "NUM_PROXIES", 1)
        codes = [
            api.post(
                f"{AUTH}/login/",
                {"email": f"{number}@example.com", "password": "wrong"},
                HTTP_X_FORWARDED_FOR=header.format(number=number, customer=customer),
            ).status_code
            for customer, number in [*((1, number) for number in range(6)), (2, 6)]
        ]
        assert codes == [401] * 5 + [429, 401]

    def test_an_ipv6_customer_is_one_address(self, api: APIClient) -> None:
        codes = [
            api.post(
                f"{AUTH}/login/",
                {"email": f"{number}@example.com", "password": "wrong"},
                REMOTE_ADDR=address,
            ).status_code
            for number, address in enumerate(
                [*(f"2001:db8::{n:x}" for n in range(6)), "2001:db8:1::"]
            )
        ]
        assert codes == [401] * 5 + [429, 401]

    def test_ipv4_customers_on_an_ipv6_socket_are_several(self, api: APIClient) -> None:
        codes = [
            api.post(
                f"{AUTH}/login/",
                {"email": f"{number}@example.com", "password": "wrong"},
                REMOTE_ADDR=f"::ffff:192.0.2.{customer}",
            ).status_code
            for customer, number in [*((1, number) for number in range(6)), (2, 6)]
        ]
        assert codes == [401] * 5 + [429, 401]

    def test_logins_in_the_admin_site_count_too(self, api: APIClient) -> None:
        admin = User.objects.create_superuser("ana@example.com", PASSWORD)
        login = {"username": admin.email, "password": PASSWORD}
        self.tries(api, 3)
        refused = Client().post("/admin/login/", login)
        assert (
            refused.status_code,
            "throttled" in str(refused.context["form"].errors.as_json()),
        ) == (200, True)
        Counter.objects.all().delete()
        assert Client().post("/admin/login/?next=/admin/", login).status_code == 302

    def test_emails_to_one_mailbox_are_limited(
        self, api: APIClient, user: User, delivered: Delivered
    ) -> None:
        for _number in range(5):
            api.post(f"{AUTH}/forgot_password/", {"email": user.email})
        assert len(delivered()) == 3

    def test_registrations_of_one_address_are_limited(
        self, api: APIClient, user: User, delivered: Delivered
    ) -> None:
        """Each sends an e-mail to the owner."""
        body = registration(email=user.email)
        codes = [
            api.post(f"{AUTH}/register/", body, REMOTE_ADDR=f"192.0.2.{number}").status_code
            for number in range(4)
        ]
        assert codes == [400] * 3 + [429]
        assert len(delivered()) == 3

    def test_changes_of_the_address_are_limited(
        self, user_api: APIClient, user: User, delivered: Delivered
    ) -> None:
        """Each sends an e-mail to any address, or reveals that it has an account."""
        own = f"/api/v1/users/{user.pk}/"
        codes = [
            change(
                own,
                {
                    "email": f"victim{number}@example.com",
                    "current_password": PASSWORD,
                    "first_name": "Eva",
                    "last_name": "Reis",
                },
            ).status_code
            for number, change in enumerate([user_api.patch, user_api.put] * 2)
        ]
        assert codes == [200] * 3 + [429]
        same = {"email": user.email.upper(), "first_name": "Eva", "last_name": "Reis"}
        assert user_api.put(own, same).status_code == 200
        assert user_api.patch(own, {"first_name": "Bia"}).status_code == 200


class TestLog:
    """16.3.1, 16.2.5: the event and the user, but no secret."""

    @pytest.fixture
    def events(self, caplog: pytest.LogCaptureFixture) -> Callable[[], list[str]]:
        caplog.set_level("INFO")

        def logged() -> list[str]:
            names = [r.msg["event"] for r in caplog.records if isinstance(r.msg, dict)]
            return [name for name in names if name != "request_finished"]

        return logged

    def test_logins_are_logged(
        self, api: APIClient, user: User, events: Callable[[], list[str]]
    ) -> None:
        for password in ("wrong", PASSWORD):
            api.post(f"{AUTH}/login/", {"email": user.email, "password": password})
        assert events() == ["login_failed", "login"]

    def test_accounts_log_no_secret(
        self, api: APIClient, user: User, caplog: pytest.LogCaptureFixture
    ) -> None:
        caplog.set_level("DEBUG")
        token = reset_password_token.issue(user).token
        answer = api.post(f"{AUTH}/reset_password/", {"token": token, "password": "another horse"})
        for secret in (token, "another horse", answer.json()["token"], user.email):
            assert secret not in caplog.text


class TestPasswords:
    """6.2"""

    def test_passwords_use_argon2id_with_owasp_parameters(self, settings: Settings) -> None:
        settings.PASSWORD_HASHERS = ["apps.user.hashers.OwaspArgon2PasswordHasher"]
        assert make_password("x").startswith("argon2$argon2id$v=19$m=19456,t=2,p=1$")

    def test_outer_spaces_of_a_password_are_kept(self, api: APIClient, user: User) -> None:
        password = "  two spaces on each side  "
        services.change_password(user, current_password=PASSWORD, password=password)
        right = api.post(f"{AUTH}/login/", {"email": user.email, "password": password})
        trimmed = api.post(f"{AUTH}/login/", {"email": user.email, "password": password.strip()})
        assert (right.status_code, trimmed.status_code) == (200, 401)

    def test_password_is_never_returned(self, user_api: APIClient, user: User) -> None:
        for path in ("/api/v1/users/", ME):
            body = user_api.get(path).content.decode()
            assert "password" not in body
            assert user.password not in body


class TestAddresses:
    def test_addresses_are_stored_in_lower_case(self) -> None:
        user = make_user(email="Ana@Example.COM")
        assert user.email == "ana@example.com"
        assert User.objects.get(email="ANA@example.com") == user

    def test_the_database_refuses_another_case(self) -> None:
        user = make_user()
        with pytest.raises(IntegrityError), transaction.atomic():
            User.objects.filter(pk=user.pk).update(email=RawSQL("UPPER(email)", ()))

    def test_links_do_not_trust_the_host_header(
        self, api: APIClient, user: User, delivered: Delivered, settings: Settings
    ) -> None:
        settings.ALLOWED_HOSTS = ["*"]
        settings.URL_BASE = "https://service.example"
        api.post(f"{AUTH}/forgot_password/", {"email": user.email}, HTTP_HOST="evil.example")
        body = str(delivered()[0].body)
        assert "https://service.example/reset_password/#token=" in body
        assert "evil" not in body


class TestUnneededCredentials:
    @pytest.mark.parametrize("header", ["Bearer junk", "Bearer", "Basic eA==", "Bearer a b"])
    def test_invalid_credentials_do_not_block_public_endpoints(
        self, api: APIClient, user: User, header: str
    ) -> None:
        api.credentials(HTTP_AUTHORIZATION=header)
        body = {"email": user.email, "password": PASSWORD}
        assert api.post(f"{AUTH}/login/", body).status_code == 200
        assert api.get("/api/v1/health/").status_code == 200


@pytest.mark.django_db(transaction=True)
class TestSimultaneousRequests:
    """Two simultaneous requests."""

    @pytest.fixture(autouse=True)
    def no_limits(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("apps.user.api.auth.AuthView.throttle_classes", [])

    def at_once(self, call: Callable[[], Response]) -> list[int]:
        def in_a_thread(_number: int) -> int:
            try:
                return call().status_code
            finally:
                connections.close_all()

        with ThreadPoolExecutor(4) as pool:
            return sorted(pool.map(in_a_thread, range(4)))

    def test_one_of_two_simultaneous_registrations_succeeds(self) -> None:
        codes = self.at_once(lambda: APIClient().post(f"{AUTH}/register/", registration()))
        assert codes == [201, 400, 400, 400]

    def test_one_of_two_simultaneous_resets_succeeds(self) -> None:
        token = reset_password_token.issue(make_user()).token
        body = {"token": token, "password": "another horse"}
        codes = self.at_once(lambda: APIClient().post(f"{AUTH}/reset_password/", body))
        assert codes == [200, 400, 400, 400]
