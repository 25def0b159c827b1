"""The admin site has the controls of the API. The ids are those of OWASP ASVS 5.0."""

import re
from collections.abc import Callable, Sequence
from typing import Any

import pytest
from django.contrib.auth.models import Group, Permission
from django.core.mail import EmailMessage
from django.test import Client
from django.urls import reverse
from django.utils import timezone
from pytest_django import Settings
from rest_framework.test import APIClient
from rest_framework.throttling import SimpleRateThrottle

from apps.user import services
from apps.user.models import Session, User
from apps.user.tests.factories import PASSWORD, make_token, make_user

Delivered = Callable[[], Sequence[EmailMessage]]
LOGIN = "/admin/login/"
OWN_PASSWORD = "/admin/password_change/"
USERS = "/admin/user/user/"
NEW_PASSWORD = "another horse"

pytestmark = pytest.mark.django_db


def make_admin(**fields: Any) -> User:
    return make_user(**{"is_staff": True, "is_superuser": True} | fields)


def logged_in(user: User) -> Client:
    client = Client(headers={"Accept-Language": "en"})
    client.force_login(user)
    return client


def is_logged_in(client: Client) -> bool:
    return client.get("/admin/").status_code == 200


def staff_client(*permissions: str) -> Client:
    user = make_user(is_staff=True)
    user.user_permissions.set(Permission.objects.filter(codename__in=permissions))
    return logged_in(user)


def log_in(username: str, password: str = PASSWORD, **fields: str) -> Any:
    client = Client(headers={"Accept-Language": "en"})
    return client.post(
        f"{LOGIN}?next=/admin/", {"username": username, "password": password, **fields}
    )


def is_throttled(response: Any) -> bool:
    return "Too many attempts" in response.content.decode()


def profile(user: User, **fields: str) -> dict[str, str]:
    """Return the data of a user's form, with the stored values by default."""
    stored = {
        "email": user.email,
        "first_name": user.first_name,
        "last_name": user.last_name,
        "email_confirmed_at_0": "2026-01-31",
        "email_confirmed_at_1": "12:00",
    }
    flags = {
        name: "on" for name in ("is_active", "is_staff", "is_superuser") if getattr(user, name)
    }
    return stored | flags | fields


def change_url(user: User) -> str:
    return reverse("admin:user_user_change", args=[user.pk])


def password_url(user: User) -> str:
    return f"{USERS}{user.pk}/password/"


@pytest.fixture
def superuser() -> User:
    return make_admin()


@pytest.fixture
def events(caplog: pytest.LogCaptureFixture) -> Callable[[], list[str]]:
    caplog.set_level("INFO")

    def logged() -> list[str]:
        names = [record.msg["event"] for record in caplog.records if isinstance(record.msg, dict)]
        return [name for name in names if name != "request_finished"]

    return logged


class TestLogin:
    """6.3.1, 6.3.4, 16.3.1"""

    @pytest.fixture(autouse=True)
    def three_attempts(self, monkeypatch: pytest.MonkeyPatch) -> None:
        for scope in ("login-account", "login-account-network"):
            monkeypatch.setitem(SimpleRateThrottle.THROTTLE_RATES, scope, "3/min")

    def test_an_extra_field_does_not_change_the_account_that_is_counted(
        self, superuser: User
    ) -> None:
        attempts = [
            log_in(superuser.email, "wrong", email=f"{number}@example.com") for number in range(4)
        ]
        assert [is_throttled(attempt) for attempt in attempts] == [False] * 3 + [True]
        assert is_throttled(log_in(superuser.email))

    def test_attempts_of_another_network_do_not_keep_the_owner_out(
        self, superuser: User, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setitem(SimpleRateThrottle.THROTTLE_RATES, "login-account", "9/min")
        attempts = [log_in(superuser.email, "wrong") for _attempt in range(4)]
        assert is_throttled(attempts[-1])
        owner = Client(REMOTE_ADDR="198.51.100.1")
        page = owner.post(LOGIN, {"username": superuser.email, "password": PASSWORD})
        assert page.status_code == 302

    def test_every_spelling_of_an_address_counts_as_one(self) -> None:
        admin = make_admin(email="ana@xn--bcher-kva.example")
        spellings = ["ANA@bücher.example", " ana@BÜCHER.example ", "ａｎａ@bu\u0308cher.example"]
        assert not any(is_throttled(log_in(spelling, "wrong")) for spelling in spellings)
        assert is_throttled(log_in(admin.email))

    def test_attempts_count_together_with_those_of_the_api(
        self, api: APIClient, superuser: User
    ) -> None:
        for _attempt in range(3):
            log_in(superuser.email, "wrong")
        body = {"email": superuser.email, "password": PASSWORD}
        assert api.post("/api/v1/auth/login/", body).status_code == 429

    @pytest.mark.parametrize(
        "content_type", ["application/json", "text/plain", "application/octet-stream", "x"]
    )
    def test_another_content_type_is_an_empty_form(self, content_type: str) -> None:
        response = Client().post(LOGIN, b'{"username": "a", "password": "b"}', content_type)
        assert response.status_code == 200
        assert response.context["form"].errors

    def test_an_unconfirmed_address_is_refused(
        self, settings: Settings, events: Callable[[], list[str]]
    ) -> None:
        admin = make_admin(email_confirmed_at=None)
        refused = log_in(admin.email)
        assert refused.context["form"].non_field_errors().as_data()[0].code == "email_not_confirmed"
        assert events() == ["login_before_confirmation"]
        settings.REQUIRE_CONFIRMED_EMAIL = False
        assert log_in(admin.email).status_code == 302

    def test_an_unconfirmed_address_is_not_revealed_to_a_stranger(self) -> None:
        """6.3.8: only after the right password."""
        admin = make_admin(email_confirmed_at=None)
        errors = [
            log_in(email, "wrong").context["form"].non_field_errors()
            for email in (admin.email, "nobody@example.com")
        ]
        assert errors[0] == errors[1]

    def test_logins_failures_and_logouts_are_logged(
        self, superuser: User, events: Callable[[], list[str]], caplog: pytest.LogCaptureFixture
    ) -> None:
        log_in(superuser.email, "wrong")
        log_in(make_user().email)
        client = log_in(superuser.email).client
        client.post("/admin/logout/")
        assert events() == ["login_failed", "login_failed", "login", "logout"]
        assert superuser.email not in caplog.text


class TestPasswords:
    """6.2.3, 6.3.1, 6.3.7, 16.3.1"""

    def change_own(self, client: Client, old: str = PASSWORD, new: str = NEW_PASSWORD) -> Any:
        names = ("old_password", "new_password1", "new_password2")
        return client.post(OWN_PASSWORD, dict(zip(names, (old, new, new), strict=True)))

    def set_for(self, client: Client, user: User, password: str = NEW_PASSWORD) -> Any:
        body = {"password1": password, "password2": password, "usable_password": "true"}
        return client.post(password_url(user), body)

    def test_attempts_at_the_old_password_are_limited(
        self,
        superuser: User,
        monkeypatch: pytest.MonkeyPatch,
        events: Callable[[], list[str]],
    ) -> None:
        monkeypatch.setitem(SimpleRateThrottle.THROTTLE_RATES, "password-account", "3/min")
        client = logged_in(superuser)
        attempts = [self.change_own(client, old="wrong") for _attempt in range(3)]
        assert not any(is_throttled(attempt) for attempt in attempts)
        assert events() == ["login", *["password_change_failed"] * 3]
        assert is_throttled(self.change_own(client))
        body = {"current_password": PASSWORD, "password": NEW_PASSWORD}
        api = APIClient(headers={"Authorization": f"Bearer {make_token(superuser)}"})
        assert api.post("/api/v1/auth/change_password/", body).status_code == 429

    def test_a_change_of_ones_own_password_is_logged_and_the_owner_is_notified(
        self, superuser: User, delivered: Delivered, events: Callable[[], list[str]]
    ) -> None:
        client, other = logged_in(superuser), logged_in(superuser)
        assert self.change_own(client).status_code == 302
        assert [email.to for email in delivered()] == [[superuser.email]]
        assert "password_changed" in events()
        assert is_logged_in(client)
        assert not is_logged_in(other), "7.4.3"

    def test_a_password_that_an_administrator_sets_is_logged_and_the_owner_is_notified(
        self, superuser: User, user: User, delivered: Delivered, events: Callable[[], list[str]]
    ) -> None:
        token = make_token(user)
        assert self.set_for(logged_in(superuser), user).status_code == 302
        user.refresh_from_db()
        assert user.check_password(NEW_PASSWORD)
        assert [email.to for email in delivered()] == [[user.email]]
        assert "password_changed" in events()
        api = APIClient(headers={"Authorization": f"Bearer {token}"})
        assert api.get("/api/v1/users/me/").status_code == 401

    def test_the_owner_of_a_disabled_password_is_notified(
        self, superuser: User, user: User, delivered: Delivered
    ) -> None:
        body = {"usable_password": "false", "unset-password": "Disable"}
        assert logged_in(superuser).post(password_url(user), body).status_code == 302
        user.refresh_from_db()
        assert not user.has_usable_password()
        assert [email.to for email in delivered()] == [[user.email]]

    def test_the_warning_about_a_disabled_password_is_translated(
        self, superuser: User, user: User
    ) -> None:
        page = logged_in(superuser).get(password_url(user), headers={"Accept-Language": "pt-br"})
        assert "a senha atual deste usuário será perdida" in page.content.decode()
        assert "If disabled" not in page.content.decode()

    @pytest.mark.parametrize("password", ["x7" * 64 + "y", " " * 8, "12345678"])
    def test_every_form_refuses_what_the_api_refuses(
        self, superuser: User, user: User, password: str
    ) -> None:
        """6.2.1, 6.2.4, 6.2.9"""
        client = logged_in(superuser)
        new = {"email": "new@example.com", "first_name": "A", "last_name": "B"}
        passwords = {"password1": password, "password2": password, "usable_password": "true"}
        forms = [
            self.change_own(client, new=password),
            self.set_for(client, user, password),
            client.post(f"{USERS}add/", new | passwords),
        ]
        assert [response.status_code for response in forms] == [200] * 3
        assert forms[0].context["form"].errors
        assert forms[1].context["form"].errors
        assert forms[2].context["adminform"].errors
        assert not User.objects.filter(email="new@example.com").exists()

    def test_every_form_accepts_the_longest_password_of_the_api(
        self, superuser: User, user: User
    ) -> None:
        longest = "x7" * 64
        client = logged_in(superuser)
        assert self.set_for(client, user, longest).status_code == 302
        assert self.change_own(client, new=longest).status_code == 302
        assert log_in(superuser.email, longest).status_code == 302


class TestSessions:
    """7.4.1, 7.4.3, 7.4.5, 7.5.2"""

    def test_logout_in_the_admin_ends_only_that_session(self, superuser: User) -> None:
        client, other = logged_in(superuser), logged_in(superuser)
        api = APIClient(headers={"Authorization": f"Bearer {make_token(superuser)}"})
        client.post("/admin/logout/")
        assert not is_logged_in(client)
        assert is_logged_in(other)
        assert api.get("/api/v1/users/me/").status_code == 200

    def test_logging_out_everywhere_in_the_api_ends_the_session_of_the_admin(
        self, superuser: User
    ) -> None:
        client = logged_in(superuser)
        services.end_sessions(superuser)
        assert not is_logged_in(client)

    @pytest.mark.parametrize("place", ["list", "form"])
    def test_an_administrator_ends_the_sessions_of_a_user(
        self, superuser: User, place: str, events: Callable[[], list[str]]
    ) -> None:
        other = make_admin()
        client, session = logged_in(superuser), logged_in(other)
        api = APIClient(headers={"Authorization": f"Bearer {make_token(other)}"})
        prefix = "" if place == "list" else "CHANGE_FORM-"
        body = {f"{prefix}action": "end_sessions", "_selected_action": [str(other.pk)]}
        url = USERS if place == "list" else change_url(other)
        page = client.post(url, body, follow=True).content.decode()
        assert "The sessions of 1 user have ended." in page
        assert not is_logged_in(session)
        assert api.get("/api/v1/users/me/").status_code == 401
        assert "sessions_ended" in events()
        history = client.get(reverse("admin:user_user_history", args=[other.pk]))
        assert "Ended all sessions." in history.content.decode()

    @pytest.mark.parametrize("place", ["list", "form"])
    def test_an_administrator_ends_one_session_of_a_user(
        self, superuser: User, user: User, place: str, events: Callable[[], list[str]]
    ) -> None:
        client = logged_in(superuser)
        tokens = [make_token(user) for _device in range(2)]
        link = re.search(
            r'"(/admin/user/session/[^"]+)"', client.get(change_url(user)).content.decode()
        )
        assert link
        make_token(superuser)
        page = client.get(link[1])
        newer, older = page.context["cl"].result_list
        assert (newer.user, older.user) == (user, user)
        body = {"post": "yes", "action": "delete_selected", "_selected_action": [str(older.pk)]}
        url = "/admin/user/session/"
        client.post(url if place == "list" else f"{url}{older.pk}/delete/", body)
        apis = [APIClient(headers={"Authorization": f"Bearer {token}"}) for token in tokens]
        assert [api.get("/api/v1/users/me/").status_code for api in apis] == [401, 200]
        assert events()[-1] == "session_ended"

    @pytest.mark.parametrize("user_agent", ["Phone/2.0", ""])
    def test_a_session_is_named_after_its_device_or_its_id(
        self, superuser: User, user: User, user_agent: str
    ) -> None:
        session = services.start_session(user, services.Device(user_agent=user_agent))
        url = f"/admin/user/session/{session.pk}/delete/"
        page = logged_in(superuser).post(url, {"post": "yes"}, follow=True).content.decode()
        assert f"“{user_agent or session.pk}” was deleted" in page

    def test_only_sessions_that_have_not_ended_are_shown(self, superuser: User, user: User) -> None:
        make_token(user)
        Session.objects.update(expires_at=timezone.now())
        make_token(user)
        services.end_sessions(user)
        client = logged_in(superuser)
        assert not client.get("/admin/user/session/").context["cl"].result_list
        for session in Session.objects.all():
            assert client.get(f"/admin/user/session/{session.pk}/change/").status_code == 302
        make_token(user)
        assert len(client.get("/admin/user/session/").context["cl"].result_list) == 1

    def test_ending_one_session_needs_the_permission_to_change_its_user(
        self, superuser: User, user: User
    ) -> None:
        for owner in (superuser, user):
            make_token(owner)
        privileged, ordinary = (owner.sessions.get() for owner in (superuser, user))
        url = "/admin/user/session/"

        def statuses(*permissions: str) -> list[int]:
            staff = staff_client(*permissions)
            return [
                staff.get(url).status_code,
                staff.get(f"{url}add/").status_code,
                staff.post(f"{url}{ordinary.pk}/change/", {"user_agent": "x"}).status_code,
                staff.post(f"{url}{privileged.pk}/delete/", {"post": "yes"}).status_code,
                staff.post(f"{url}{ordinary.pk}/delete/", {"post": "yes"}).status_code,
            ]

        assert statuses("view_group") == [403] * 5
        assert statuses("view_user") == [200] + [403] * 4
        both = {"action": "delete_selected", "_selected_action": [privileged.pk, ordinary.pk]}
        staff_client("change_user").post(url, both | {"post": "yes"})
        assert Session.objects.count() == 2
        assert statuses("change_user") == [200, 403, 403, 403, 302]
        assert Session.objects.get() == privileged

    def test_ending_sessions_needs_the_permission_to_change_each_of_the_users(
        self, superuser: User, user: User
    ) -> None:
        session = logged_in(superuser)
        body = {"action": "end_sessions", "_selected_action": [superuser.pk, user.pk]}
        assert staff_client("change_user").post(USERS, body).status_code == 403
        staff_client("view_user").post(USERS, body)
        assert is_logged_in(session)

    def test_a_new_address_ends_the_sessions_and_the_old_one_is_notified(
        self, superuser: User, user: User, delivered: Delivered
    ) -> None:
        """6.3.7"""
        old, api = user.email, APIClient()
        api.credentials(HTTP_AUTHORIZATION=f"Bearer {make_token(user)}")
        body = profile(user, email="new@example.com")
        assert logged_in(superuser).post(change_url(user), body).status_code == 302
        assert [email.to for email in delivered()] == [[old]]
        assert api.get("/api/v1/users/me/").status_code == 401

    def test_other_changes_do_not_end_the_sessions(
        self, superuser: User, user: User, delivered: Delivered
    ) -> None:
        api = APIClient(headers={"Authorization": f"Bearer {make_token(user)}"})
        body = profile(user, first_name="Bia", email=user.email.upper())
        assert logged_in(superuser).post(change_url(user), body).status_code == 302
        assert api.get("/api/v1/users/me/").json()["user"]["first_name"] == "Bia"
        assert not delivered()


class TestPrivileges:
    """8.2.1, 8.2.3, 8.3.1: only superusers can grant privileges or change users who have them."""

    @pytest.fixture
    def staff(self) -> Client:
        return staff_client(
            *("add_user", "change_user", "delete_user", "view_user"),
            *("add_group", "change_group", "delete_group", "view_group"),
        )

    def test_staff_cannot_grant_privileges(self, staff: Client, user: User) -> None:
        group = Group.objects.create(name="powerful")
        permission = Permission.objects.get(codename="delete_user")
        body: dict[str, Any] = {
            **profile(user, first_name="Bia"),
            "is_staff": "on",
            "is_superuser": "on",
            "groups": [group.pk],
            "user_permissions": [permission.pk],
        }
        assert staff.post(change_url(user), body).status_code == 302
        user.refresh_from_db()
        assert (user.first_name, user.is_staff, user.is_superuser) == ("Bia", False, False)
        assert not user.groups.exists()
        assert not user.user_permissions.exists()

    @pytest.mark.parametrize("who", ["superuser", "staff", "itself"])
    def test_staff_cannot_change_accounts_with_privileges(
        self, staff: Client, who: str, superuser: User
    ) -> None:
        make_admin()  # so that the other one is not the last superuser
        accounts = {
            "superuser": superuser,
            "staff": make_user(is_staff=True),
            "itself": User.objects.get(pk=staff.session["_auth_user_id"]),
        }
        account = accounts[who]
        password = {"password1": NEW_PASSWORD, "password2": NEW_PASSWORD, "usable_password": "true"}
        before = User.objects.filter(pk=account.pk).values().get()
        bulk = {"action": "delete_selected", "_selected_action": [account.pk], "post": "yes"}
        codes = [
            staff.get(change_url(account)).status_code,
            staff.post(
                change_url(account), profile(account, email="evil@example.com", is_superuser="on")
            ).status_code,
            staff.get(password_url(account)).status_code,
            staff.post(password_url(account), password).status_code,
            staff.post(f"{USERS}{account.pk}/delete/", {"post": "yes"}).status_code,
            staff.post(USERS, bulk).status_code,
        ]
        assert codes == [200] + [403] * 5
        assert User.objects.filter(pk=account.pk).values().get() == before

    def test_staff_can_only_add_ordinary_users(self, staff: Client) -> None:
        body = {
            "email": "new@example.com",
            "first_name": "A",
            "last_name": "B",
            "password1": NEW_PASSWORD,
            "password2": NEW_PASSWORD,
            "usable_password": "true",
            "is_staff": "on",
            "is_superuser": "on",
        }
        assert staff.post(f"{USERS}add/", body).status_code == 302
        user = User.objects.get(email="new@example.com")
        assert (user.is_staff, user.is_superuser) == (False, False)

    def test_staff_can_manage_ordinary_users(self, staff: Client, user: User) -> None:
        body = profile(user)
        del body["is_active"]
        assert staff.post(change_url(user), body).status_code == 302
        user.refresh_from_db()
        assert not user.is_active
        assert staff.post(f"{USERS}{user.pk}/delete/", {"post": "yes"}).status_code == 302
        assert not User.objects.filter(pk=user.pk).exists()

    def test_staff_cannot_change_groups(self, staff: Client) -> None:
        group = Group.objects.create(name="theirs")
        everything = [permission.pk for permission in Permission.objects.all()]
        body = {"name": "theirs", "permissions": everything}
        url = reverse("admin:auth_group_change", args=[group.pk])
        codes = [
            staff.get(url).status_code,
            staff.post(url, body).status_code,
            staff.post("/admin/auth/group/add/", body | {"name": "new"}).status_code,
            staff.post(f"/admin/auth/group/{group.pk}/delete/", {"post": "yes"}).status_code,
        ]
        assert codes == [200] + [403] * 3
        assert not group.permissions.exists()

    def test_superusers_can_grant_privileges(self, superuser: User, user: User) -> None:
        body = profile(user, is_staff="on", is_superuser="on")
        assert logged_in(superuser).post(change_url(user), body).status_code == 302
        user.refresh_from_db()
        assert (user.is_staff, user.is_superuser) == (True, True)


class TestTheLastSuperuser:
    """Without a superuser, no one could add one in the admin site."""

    @pytest.fixture(autouse=True)
    def banned_superuser(self) -> User:
        make_admin(is_staff=False)
        make_admin(is_superuser=False)
        return make_admin(is_active=False)

    @pytest.mark.parametrize("field", ["is_active", "is_staff", "is_superuser"])
    def test_the_last_superuser_keeps_the_role(self, superuser: User, field: str) -> None:
        body = profile(superuser)
        del body[field]
        page = logged_in(superuser).post(change_url(superuser), body)
        assert "The last superuser must stay active." in page.content.decode()
        second = make_admin()
        assert logged_in(second).post(change_url(superuser), body).status_code == 302

    def test_the_last_superuser_keeps_a_password(self, superuser: User) -> None:
        body = {"usable_password": "false", "unset-password": "Disable"}
        page = logged_in(superuser).post(password_url(superuser), body)
        assert "The last superuser must stay active." in page.content.decode()
        superuser.refresh_from_db()
        assert superuser.check_password(PASSWORD)

    def test_the_last_superuser_can_get_a_new_password(self, superuser: User) -> None:
        body = {"usable_password": "true", "password1": NEW_PASSWORD, "password2": NEW_PASSWORD}
        response = logged_in(superuser).post(password_url(superuser), body)
        assert response.status_code == 302
        superuser.refresh_from_db()
        assert superuser.check_password(NEW_PASSWORD)

    def test_the_last_superuser_cannot_be_deleted(self, superuser: User) -> None:
        client = logged_in(superuser)
        client.post(f"{USERS}{superuser.pk}/delete/", {"post": "yes"})
        client.post(
            USERS,
            {"action": "delete_selected", "_selected_action": [superuser.pk], "post": "yes"},
        )
        assert User.objects.filter(pk=superuser.pk).exists()

    def test_all_superusers_cannot_be_deleted_at_once(
        self, superuser: User, banned_superuser: User
    ) -> None:
        ids = [make_admin().pk, superuser.pk, banned_superuser.pk]
        body = {"action": "delete_selected", "_selected_action": ids, "post": "yes"}
        client = logged_in(superuser)
        client.post(USERS, body)
        assert User.objects.filter(pk__in=ids).count() == 3
        client.post(USERS, body | {"_selected_action": [ids[0], ids[2]]})
        assert User.objects.filter(pk__in=ids).get() == superuser


class TestDates:
    @pytest.mark.parametrize("zone", ["America/Sao_Paulo", "Asia/Tokyo", "Pacific/Kiritimati"])
    @pytest.mark.parametrize(
        ("date", "time"),
        [("9999-12-31", "23:59:59"), ("9999-12-31", "00:00"), ("0001-01-01", "0:00")],
    )
    def test_a_date_that_a_time_zone_pushes_out_of_range_is_refused(
        self, superuser: User, user: User, date: str, time: str, zone: str
    ) -> None:
        client = logged_in(superuser)
        with timezone.override(zone):
            body = profile(user, email_confirmed_at_0=date, email_confirmed_at_1=time)
            page = client.post(change_url(user), body)
            assert ">This date is out of range.<" in page.content.decode()
            assert client.get(USERS).status_code == 200

    @pytest.mark.parametrize("date", ["2026-01-31", "9999-12-01", "0001-02-01"])
    def test_other_dates_are_stored(self, superuser: User, user: User, date: str) -> None:
        client = logged_in(superuser)
        body = profile(user, email_confirmed_at_0=date)
        assert client.post(change_url(user), body).status_code == 302
        assert client.get(USERS).status_code == 200
