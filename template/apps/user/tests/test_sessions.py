"""Sessions of the API, one for each device. The ids are those of OWASP ASVS 5.0."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

import pytest
from django.contrib.auth.models import update_last_login
from django.core.management import call_command
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.utils import timezone
from pytest_django import Settings
from rest_framework.settings import api_settings
from rest_framework.test import APIClient
from rest_framework_simplejwt.tokens import AccessToken

from apps.user import services
from apps.user.models import Session, User
from apps.user.tests.factories import PASSWORD, make_token, make_user
from apps.user.tokens import confirm_email_token, reset_password_token

AUTH = "/api/v1/auth"
SESSIONS = f"{AUTH}/sessions/"
ME = "/api/v1/users/me/"
DAY = 86_400

pytestmark = pytest.mark.django_db


@pytest.fixture
def phone(user: User) -> APIClient:
    return bearer(make_token(user))


@pytest.fixture
def laptop(user: User) -> APIClient:
    return bearer(make_token(user))


def bearer(token: str) -> APIClient:
    client = APIClient(raise_request_exception=False)
    client.credentials(HTTP_AUTHORIZATION=f"Bearer {token}")
    return client


def is_logged_in(client: APIClient) -> bool:
    return client.get(ME).status_code == 200


def own_session(client: APIClient) -> str:
    [own] = [row["id"] for row in client.get(SESSIONS).json() if row["current"]]
    return str(own)


class TestStart:
    """7.2.4"""

    @pytest.mark.parametrize(
        ("path", "body"),
        [
            ("login", lambda user: {"email": user.email, "password": PASSWORD}),
            ("confirm_email", lambda user: {"token": confirm_email_token.issue(user).token}),
            (
                "reset_password",
                lambda user: {
                    "token": reset_password_token.issue(user).token,
                    "password": "another horse",
                },
            ),
        ],
    )
    def test_a_new_token_is_that_of_a_new_session(
        self, api: APIClient, user: User, path: str, body: Callable[[User], dict[str, str]]
    ) -> None:
        before = timezone.now()
        device: dict[str, Any] = {"HTTP_USER_AGENT": "Phone/1.0", "REMOTE_ADDR": "192.0.2.7"}
        answer = api.post(f"{AUTH}/{path}/", body(user), **device)
        [row] = bearer(answer.json()["token"]).get(SESSIONS).json()
        session = Session.objects.get()
        for name in ("created_at", "last_used_at", "expires_at"):
            assert datetime.fromisoformat(row.pop(name)) == getattr(session, name)
        assert row == {
            "id": str(session.pk),
            "address": "192.0.2.7",
            "user_agent": "Phone/1.0",
            "current": True,
        }
        assert before <= session.created_at <= session.last_used_at
        assert session.expires_at - session.last_used_at == timedelta(days=1)

    @pytest.mark.parametrize(
        ("agent", "stored"),
        [("x" * 300, "x" * 255), ("a\0b", "ab"), ("olá", "olá"), (None, "")],
    )
    def test_any_user_agent_is_stored(
        self, api: APIClient, user: User, agent: str | None, stored: str
    ) -> None:
        credentials = {"email": user.email, "password": PASSWORD}
        device: Any = {} if agent is None else {"HTTP_USER_AGENT": agent}
        assert api.post(f"{AUTH}/login/", credentials, **device).status_code == 200
        assert Session.objects.get().user_agent == stored

    @pytest.mark.parametrize(
        ("forwarded", "stored"),
        [
            ("192.0.2.1:5000", "192.0.2.1"),
            ("[2001:db8::1]:5000", "2001:db8::1"),
            ("::ffff:192.0.2.1", "192.0.2.1"),
            ("fe80::1%eth0", "fe80::1"),
            ("unknown", None),
        ],
    )
    def test_the_address_is_that_of_the_client(
        self,
        api: APIClient,
        user: User,
        monkeypatch: pytest.MonkeyPatch,
        forwarded: str,
        stored: str | None,
    ) -> None:
        monkeypatch.setattr(api_settings, "NUM_PROXIES", 1)
        credentials = {"email": user.email, "password": PASSWORD}
        api.post(f"{AUTH}/login/", credentials, HTTP_X_FORWARDED_FOR=f"10.0.0.1, {forwarded}")
        assert Session.objects.get().address == stored

    def test_the_oldest_session_ends_when_there_are_too_many(
        self, user: User, settings: Settings
    ) -> None:
        settings.API_SESSIONS_PER_USER = 2
        other = bearer(make_token(make_user()))
        devices = [bearer(make_token(user)) for _device in range(2)]
        devices[0].post(f"{AUTH}/refresh/")
        devices.append(bearer(make_token(user)))
        assert [is_logged_in(device) for device in devices] == [True, False, True]
        assert is_logged_in(other)

    def test_a_login_while_the_password_changes_starts_no_session(
        self, api: APIClient, user: User, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """The old password was right when it was checked. 7.4.3"""

        def too_late(sender: type[User], user: User) -> None:
            other = User.objects.get(pk=user.pk)
            services.change_password(other, current_password=PASSWORD, password="another horse")
            update_last_login(sender, user)

        monkeypatch.setattr(services, "update_last_login", too_late)
        answer = api.post(f"{AUTH}/login/", {"email": user.email, "password": PASSWORD})
        assert not is_logged_in(bearer(answer.json()["token"]))
        user.refresh_from_db()
        assert user.check_password("another horse")


class TestList:
    """7.5.2"""

    def test_users_see_their_own_sessions_and_the_last_used_one_first(
        self, phone: APIClient, laptop: APIClient
    ) -> None:
        make_token(make_user())
        response = phone.get(SESSIONS)
        assert [row["current"] for row in response.json()] == [False, True]
        assert "no-store" in response.headers["Cache-Control"]

    @pytest.mark.parametrize("path", [SESSIONS, f"{SESSIONS}{UUID(int=1)}/"])
    def test_a_jwt_is_required(self, api: APIClient, user: User, path: str) -> None:
        api.force_login(user)
        assert api.get(path).status_code == 401
        assert api.delete(path).status_code == 401

    def test_expired_sessions_are_not_listed(self, phone: APIClient, user: User) -> None:
        make_token(user)
        Session.objects.exclude(pk=own_session(phone)).update(expires_at=timezone.now())
        assert [row["current"] for row in phone.get(SESSIONS).json()] == [True]


class TestEnd:
    """7.4.1, 7.5.2"""

    def test_logout_ends_only_this_session(self, phone: APIClient, laptop: APIClient) -> None:
        assert phone.post(f"{AUTH}/logout/").status_code == 204
        assert not is_logged_in(phone)
        assert is_logged_in(laptop)
        assert len(laptop.get(SESSIONS).json()) == 1

    def test_logging_out_everywhere_ends_every_session_of_the_user(
        self, phone: APIClient, laptop: APIClient
    ) -> None:
        other = bearer(make_token(make_user()))
        assert phone.post(f"{AUTH}/logout_all/").status_code == 204
        assert not is_logged_in(phone)
        assert not is_logged_in(laptop)
        assert is_logged_in(other)

    def test_a_session_can_be_ended_from_another_device(
        self, phone: APIClient, laptop: APIClient
    ) -> None:
        path = f"{SESSIONS}{own_session(phone)}/"
        assert laptop.delete(path).status_code == 204
        assert not is_logged_in(phone)
        assert is_logged_in(laptop)
        assert laptop.delete(path).status_code == 404

    def test_another_users_session_is_not_found(self, phone: APIClient) -> None:
        """8.2.2"""
        other = bearer(make_token(make_user()))
        answers = [
            phone.delete(f"{SESSIONS}{session}/") for session in (own_session(other), uuid4(), "1")
        ]
        assert [answer.status_code for answer in answers] == [404] * 3
        assert answers[0].content == answers[1].content
        assert is_logged_in(other)

    def test_a_new_password_ends_the_other_sessions(
        self, phone: APIClient, laptop: APIClient
    ) -> None:
        """7.4.3"""
        body = {"current_password": PASSWORD, "password": "another horse"}
        answer = phone.post(f"{AUTH}/change_password/", body)
        assert not is_logged_in(laptop)
        renewed = bearer(answer.json()["token"])
        assert [row["current"] for row in renewed.get(SESSIONS).json()] == [True]

    def test_a_token_from_before_sessions_has_ended(self, user: User) -> None:
        """Its subject was what is now the security stamp."""
        old = AccessToken()
        old["sub"] = str(user.security_stamp)
        response = bearer(str(old)).get(ME, headers={"Accept-Language": "en"})
        assert response.status_code == 401
        assert response.json()["detail"] == "Your session has ended. Log in again."


class TestRefresh:
    """7.3.1, 7.3.2"""

    def test_a_token_is_exchanged_for_another_one_of_the_session(self, phone: APIClient) -> None:
        [before] = phone.get(SESSIONS).json()
        Session.objects.update(last_used_at=timezone.now() - timedelta(hours=5))
        device: dict[str, Any] = {"HTTP_USER_AGENT": "Phone/2.0", "REMOTE_ADDR": "192.0.2.8"}
        response = phone.post(f"{AUTH}/refresh/", **device)
        body = response.json()
        assert response.status_code == 200
        assert set(body) == {"user", "token", "expired_at"}
        assert DAY - 5 <= body["expired_at"] <= DAY
        assert "no-store" in response.headers["Cache-Control"]

        [after] = bearer(body["token"]).get(SESSIONS).json()
        unchanged = {"id", "created_at", "current"}
        assert {after[name] == before[name] for name in unchanged} == {True}
        assert after["last_used_at"] > before["last_used_at"]
        assert after["expires_at"] > before["expires_at"]
        assert (after["address"], after["user_agent"]) == ("192.0.2.8", "Phone/2.0")

    def test_no_refresh_makes_a_session_older_than_its_lifetime(
        self, phone: APIClient, settings: Settings
    ) -> None:
        assert timedelta(days=30) == settings.API_SESSION_LIFETIME
        Session.objects.update(created_at=timezone.now() - timedelta(days=30) + timedelta(hours=1))
        body = phone.post(f"{AUTH}/refresh/").json()
        assert 3590 <= body["expired_at"] <= 3600
        assert Session.objects.get().expires_at <= timezone.now() + timedelta(hours=1)

    @pytest.mark.parametrize(
        "change",
        [{"expires_at": timezone.now}, {"security_stamp": uuid4}],
        ids=["expired", "ended"],
    )
    def test_an_ended_session_is_not_refreshed(
        self, phone: APIClient, user: User, change: dict[str, Callable[[], Any]]
    ) -> None:
        rows = Session.objects if "expires_at" in change else User.objects
        rows.update(**{name: new() for name, new in change.items()})
        ended = phone.post(f"{AUTH}/refresh/")
        services.end_sessions(user)
        assert (ended.status_code, ended.content) == (401, phone.get(ME).content)

    @pytest.mark.django_db(transaction=True)
    @pytest.mark.parametrize("everywhere", [False, True])
    def test_a_logout_during_a_refresh_takes_precedence(
        self, phone: APIClient, user: User, monkeypatch: pytest.MonkeyPatch, everywhere: bool
    ) -> None:
        """15.4.2"""
        record_use = services._record_use

        def too_late(session: Session, device: services.Device) -> None:
            if everywhere:
                services.end_sessions(User.objects.get(pk=user.pk))
            else:
                services.end_session(user, session.pk)
            record_use(session, device)

        monkeypatch.setattr(services, "_record_use", too_late)
        answer = phone.post(f"{AUTH}/refresh/")
        assert not is_logged_in(phone)
        assert everywhere or answer.status_code == 401
        assert not is_logged_in(bearer(answer.json().get("token", "none")))
        user.refresh_from_db()
        assert not user.sessions.exists()


class TestCost:
    @contextmanager
    def queries(self, *expected: str) -> Iterator[None]:
        with CaptureQueriesContext(connection) as captured:
            yield
        assert [query["sql"].split()[0] for query in captured] == list(expected)

    def test_each_endpoint_runs_few_queries(self, phone: APIClient, user: User) -> None:
        other = services.start_session(user, services.Device())
        with self.queries("SELECT"):
            phone.get(ME)
        with self.queries("SELECT", "SELECT"):
            phone.get(SESSIONS)
        with self.queries("SELECT", "SELECT", "UPDATE"):
            phone.post(f"{AUTH}/refresh/")
        with self.queries("SELECT", "SELECT", "DELETE"):
            phone.delete(f"{SESSIONS}{other.pk}/")
        with self.queries("INSERT", "SELECT"):
            services.start_session(user, services.Device())
        with self.queries("SELECT", "DELETE"):
            phone.post(f"{AUTH}/logout/")

    def test_logging_out_everywhere_updates_only_the_user(self, phone: APIClient) -> None:
        with self.queries("SELECT", "UPDATE"):
            phone.post(f"{AUTH}/logout_all/")


def test_ended_and_expired_sessions_are_pruned(
    user: User, phone: APIClient, capsys: pytest.CaptureFixture[str]
) -> None:
    expired = services.start_session(user, services.Device())
    Session.objects.filter(pk=expired.pk).update(expires_at=timezone.now())
    banned, deleted = make_user(), make_user()
    for other in (banned, deleted):
        make_token(other)
    User.objects.filter(pk=banned.pk).update(is_active=False)
    deleted.delete()
    call_command("prune_sessions")
    assert capsys.readouterr().out == "2 deleted\n"
    assert [str(session.pk) for session in Session.objects.all()] == [own_session(phone)]
