"""The admin site as a second way into a service."""

from itertools import count

import pytest
from support.admin_site import AdminSite
from support.live import Server, Service

pytestmark = [pytest.mark.servers, pytest.mark.xdist_group("reports")]

PASSWORD = "correct horse battery"  # noqa: S105 - of users that the tests create
_number = count(1)


def make_user(service: Service, **fields: object) -> str:
    """Store a user with a confirmed address unless given, and return the address."""
    email = f"report{next(_number)}@example.com"
    service.shell(
        "from django.utils import timezone\n"
        "from apps.user.models import User\n"
        "fields = {'first_name': 'Ana', 'last_name': 'Souza', 'email_confirmed_at': timezone.now()}\n"
        f"User.objects.create_user({email!r}, {PASSWORD!r}, **fields | {fields!r})"
    )
    return email


def make_admin(service: Service, **fields: object) -> str:
    return make_user(service, is_staff=True, is_superuser=True, **fields)


def primary_key(service: Service, email: str) -> int:
    code = f"from apps.user.models import User\nresult = User.objects.get(email={email!r}).pk"
    return int(service.shell(code))


def logged_in(server: Server, email: str) -> AdminSite:
    site = AdminSite(server)
    assert site.log_in(email, PASSWORD).status == 302
    return site


# https://github.com/mvecchione145/degen-lite/issues/32: one account, two counters.
# https://github.com/yukiharada1228/videoq/issues/451: spellings that the login treats as the same.
def test_one_account_has_one_counter(live_server: Server) -> None:
    email = make_admin(live_server.service)
    pages = [
        AdminSite(live_server).log_in(
            f" {email.upper()} " if attempt % 2 else email, "wrong", email=f"{attempt}@example.com"
        )
        for attempt in range(3)
    ]
    assert {page.status for page in pages} == {200}
    # The rest of the attempts come from one network.
    site = AdminSite(live_server)
    texts = [
        site.log_in(email if attempt % 2 else email.upper(), "wrong", email=f"{attempt}@x.com").text
        for attempt in range(12)
    ]
    assert "Too many attempts" in texts[-1]
    assert "Too many attempts" not in texts[0]


# https://github.com/mvecchione145/degen-lite/issues/32
def test_the_old_password_cannot_be_guessed_without_limit(sqlite_server: Server) -> None:
    site = logged_in(sqlite_server, make_admin(sqlite_server.service))
    guess = {"old_password": "wrong", "new_password1": "x", "new_password2": "x"}
    texts = [site.post("password_change/", **guess).text for _attempt in range(12)]
    assert "Too many attempts" not in texts[0]
    assert "Too many attempts" in texts[-1]


# https://github.com/django/django/pull/11385: users with change_user become superusers.
# https://github.com/fusionbox/django-authtools/issues/2: and set the passwords of superusers.
def test_staff_cannot_become_superusers(sqlite_server: Server) -> None:
    service = sqlite_server.service
    staff, root = make_user(service, is_staff=True), make_admin(service)
    service.shell(
        "from django.contrib.auth.models import Permission\n"
        "from apps.user.models import User\n"
        f"User.objects.get(email={staff!r}).user_permissions.set("
        "Permission.objects.filter(codename__in=['change_user', 'delete_user', 'change_group']))"
    )
    site = logged_in(sqlite_server, staff)
    own, roots = primary_key(service, staff), primary_key(service, root)
    profile = {"first_name": "A", "last_name": "B", "is_active": "on", "is_superuser": "on"}
    password = {"password1": "another horse", "password2": "another horse"}
    password |= {"usable_password": "true"}
    pages = [
        site.post(f"user/user/{own}/change/", email=staff, **profile),
        site.post(f"user/user/{roots}/change/", email="evil@example.com", **profile),
        site.post(f"user/user/{roots}/password/", **password),
        site.post(f"user/user/{roots}/delete/", post="yes"),
    ]
    assert [page.status for page in pages] == [403] * 4
    assert AdminSite(sqlite_server).log_in(root, PASSWORD).status == 302


# https://github.com/projectdiscovery/nuclei-templates/pull/13209: an administrator gets no
# e-mail about a new password.
def test_the_owner_is_notified_of_a_new_password(live_server: Server) -> None:
    service = live_server.service
    email, root = make_user(service), make_admin(service)
    site = logged_in(live_server, root)
    new = {"password1": "another horse", "password2": "another horse", "usable_password": "true"}
    assert site.post(f"user/user/{primary_key(service, email)}/password/", **new).status == 302
    message = service.shell(
        "from apps.communication.models import Email\n"
        f"result = list(Email.objects.filter(to={email!r}).values_list('kind', flat=True))"
    )
    assert message == ["password_changed"]
    assert f"{email}" not in live_server.log()


# https://github.com/freelawproject/courtlistener/pull/7799: digits that are not ASCII.
# Long ones, because Django reads them as an id that may exist.
@pytest.mark.parametrize("object_id", ["%D9%A3" * 12, "%C2%B2", "9" * 50])
def test_an_odd_object_id_is_not_found(live_server: Server, object_id: str) -> None:
    site = logged_in(live_server, make_admin(live_server.service))
    for model in ("communication/emailtemplate", "communication/email", "auth/group"):
        assert site.get(f"{model}/{object_id}/change/").status in {302, 404}


# https://github.com/pivotal-energy-solutions/django-datatable-view/pull/81: an OverflowError.
def test_a_filter_out_of_range_leads_back_to_the_list(live_server: Server) -> None:
    site = logged_in(live_server, make_admin(live_server.service))
    for query in ("created_at__year=10000", f"created_at__year={'9' * 30}"):
        page = site.get(f"communication/email/?{query}")
        assert (page.status, page.location[-4:]) == (302, "?e=1"), query


# https://github.com/ronaldgrn/django-link-shortener/issues/8: out of range in some time zones.
def test_a_date_that_some_time_zones_cannot_show_is_refused(live_server: Server) -> None:
    service = live_server.service
    email = make_user(service)
    site = logged_in(live_server, make_admin(service))
    form = {"email": email, "first_name": "A", "last_name": "B", "is_active": "on"}
    date = {"email_confirmed_at_0": "9999-12-31", "email_confirmed_at_1": "23:59:59"}
    page = site.post(f"user/user/{primary_key(service, email)}/change/", **form, **date)
    assert (page.status, "This date is out of range." in page.text) == (200, True)
    assert site.get("user/user/").status == 200


def test_another_content_type_causes_no_server_error(live_server: Server) -> None:
    site = AdminSite(live_server)
    site.log_in("nobody@example.com", "wrong")
    for content_type in ("application/json", "text/plain"):
        page = site.send("POST", "login/", '{"username": "a", "password": "b"}', content_type)
        assert page.status in {200, 415}
