"""Different spellings of e-mail addresses."""

from itertools import count

import pytest
from support.live import Server

pytestmark = [pytest.mark.servers, pytest.mark.xdist_group("reports")]

PASSWORD = "correct horse battery"  # noqa: S105
_numbers = count(1)


def registration(email: str, **fields: str) -> dict[str, str]:
    return {"email": email, "first_name": "Ana", "last_name": "Lima", "password": PASSWORD} | fields


def test_every_spelling_of_a_domain_is_one_account(
    live_server: Server, sqlite_server: Server
) -> None:
    # https://github.com/django/django/pull/16276: IDNA 2003 mails this to strasse.example
    for server in (live_server, sqlite_server):
        name = f"{server.name}{next(_numbers)}"
        stored = f"{name}@xn--strae-oqa.example"
        first = server.api()("POST", "auth/register/", registration(f"{name}@Stra\u00dfe.example"))
        assert (first.status, first.body["user"]["email"]) == (201, stored)
        assert server.service.mailboxes.read(stored)
        full_width = (
            "\uff53\uff54\uff52\uff41\u00df\uff45\uff0e\uff45\uff58\uff41\uff4d\uff50\uff4c\uff45"
        )
        for number, spelling in enumerate((stored.upper(), f"{name}@{full_width}"), start=2):
            again = server.api()("POST", "auth/register/", registration(spelling))
            assert (again.status, list(again.body)) == (400, ["email"])
            login = {"email": spelling, "password": PASSWORD}
            answer = server.api()("POST", "auth/login/", login)
            assert (answer.status, answer.body["code"]) == (403, "email_not_confirmed")
            assert server.service.mailboxes.read(stored, number)  # "you already have an account"


def test_an_address_that_cannot_get_mail_is_refused(
    live_server: Server, sqlite_server: Server
) -> None:
    # https://github.com/zulip/zulip/pull/39118
    for server in (live_server, sqlite_server):
        for address in (
            "al\u0131@example.com",
            "\u017f@example.com",
            "ana@localhost",
            "ana@[127.0.0.1]",
            "ana@example.com\u202c",
            '"a\x01"@example.com',
        ):
            for call, body in (
                ("register", registration(address)),
                ("forgot_password", {"email": address}),
            ):
                answer = server.api()("POST", f"auth/{call}/", body)
                assert (answer.status, list(answer.body)) == (400, ["email"]), address


def test_a_reset_request_stores_no_unknown_address(
    live_server: Server, sqlite_server: Server
) -> None:
    # https://github.com/keycloak/keycloak/issues/26625
    for server in (live_server, sqlite_server):
        stranger = f"stranger{next(_numbers)}"
        answer = server.api()("POST", "auth/forgot_password/", {"email": f"{stranger}@example.com"})
        assert answer.status == 200
        stored = server.service.shell(
            "from django_tasks_db.models import DBTaskResult\n"
            "from apps.communication.models import Email\n"
            "result = str([*DBTaskResult.objects.values(), *Email.objects.values()])"
        )
        assert stored != "[]"
        assert stranger not in stored


def test_a_phone_number_is_accepted_as_brazilians_write_it(
    live_server: Server, sqlite_server: Server
) -> None:
    # https://github.com/django-phonenumber-field/django-phonenumber-field/issues/369
    for server in (live_server, sqlite_server):
        email = f"{server.name}{next(_numbers)}@example.com"
        body = registration(email, phone="(11) 96123-4567")
        answer = server.api()("POST", "auth/register/", body)
        assert (answer.status, answer.body["user"]["phone"]) == (201, "+5511961234567")
        refused = server.api()("POST", "auth/register/", body | {"phone": "12345"})
        assert "+55 11 96123-4567" in refused.body["phone"][0]
