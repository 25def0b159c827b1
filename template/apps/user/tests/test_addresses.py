"""One mailbox, one spelling, one account."""

from collections.abc import Callable, Sequence
from importlib import import_module

import pytest
from django.apps import apps
from django.core.exceptions import ValidationError
from django.core.mail import EmailMessage
from django.db import IntegrityError, connection, transaction
from django.db.models import Value
from rest_framework.test import APIClient

from apps.user.models import User
from apps.user.tests.factories import PASSWORD, make_user, registration
from common.email_addresses import normalise_email

Delivered = Callable[[], Sequence[EmailMessage]]
AUTH = "/api/v1/auth"
STORED = "bob@xn--bcher-kva.example"
SPELLINGS = [
    STORED,
    "Bob@b\u00fccher.example",
    "bob@bu\u0308cher.example",
    "bob@B\u00dcCHER.EXAMPLE",
    "bob@\uff42\u00fc\uff43\uff48\uff45\uff52\uff0e\uff45\uff58\uff41\uff4d\uff50\uff4c\uff45",
    "bob@b\u00fccher\u3002example",
    " bob@XN--BCHER-KVA.example ",
]
NEVER_MAILABLE = [
    "al\u0131@example.com",
    "\u017f@example.com",
    "\u212aate@example.com",
    "ana@localhost",
    "ana@[127.0.0.1]",
    "ana@127.0.0.1",
    "ana@example",
    "ana@example.com.",
    "ana@exa_mple.com",
    "ana@\U0001f4a9.example",
    "a\tna@example.com",
    "a\x7fna@example.com",
    '"ana"@example.com',
    '"a\x01na"@example.com',
    "ana@exam\x00ple.com",
    f"{'a' * 65}@example.com",
    f"ana@{'a' * 64}.com",
    "ana@example.com, bia@example.com",
    "ana@@example.com",
    "ana",
    "",
]

pytestmark = pytest.mark.django_db


@pytest.mark.parametrize("spelling", SPELLINGS)
def test_every_spelling_is_one_mailbox(spelling: str) -> None:
    assert normalise_email(spelling) == STORED


def test_idna_2008_keeps_sharp_s() -> None:
    """IDNA 2003, which Python and Django use, mails it to strasse.example."""
    assert normalise_email("a@stra\u00dfe.example") == "a@xn--strae-oqa.example"


def test_the_longest_address_is_accepted_and_a_longer_one_refused() -> None:
    local_part = "a" * 64
    domain = ".".join(["b" * 45] * 4) + ".email"
    longest = f"{local_part}@{domain}"
    assert len(longest) == 254
    assert normalise_email(longest) == longest
    for address in (f"{local_part}@b{domain}", f"{local_part}@\u00fc{domain[1:]}"):
        with pytest.raises(ValueError, match="cannot receive"):
            normalise_email(address)


@pytest.mark.parametrize("address", NEVER_MAILABLE)
def test_an_address_that_cannot_get_mail_is_invalid(address: str) -> None:
    with pytest.raises(ValueError, match=r"."):
        normalise_email(address)


@pytest.mark.parametrize("address", NEVER_MAILABLE)
def test_an_undeliverable_address_is_rejected(
    api: APIClient, user_api: APIClient, user: User, address: str
) -> None:
    calls = [
        api.post(f"{AUTH}/register/", registration(email=address)),
        api.post(f"{AUTH}/forgot_password/", {"email": address}),
        api.post(f"{AUTH}/resend_confirmation/", {"email": address}),
        user_api.patch(
            f"/api/v1/users/{user.pk}/", {"email": address, "current_password": PASSWORD}
        ),
    ]
    assert [(call.status_code, list(call.json())) for call in calls] == [(400, ["email"])] * 4
    with pytest.raises(ValidationError):
        User(email=address, first_name="Ana", last_name="Lima", password="x").full_clean()


@pytest.mark.parametrize("spelling", SPELLINGS)
def test_any_spelling_is_the_same_account(
    api: APIClient, delivered: Delivered, spelling: str
) -> None:
    registered = api.post(f"{AUTH}/register/", registration(email=SPELLINGS[1]))
    assert registered.json()["user"]["email"] == STORED
    User.objects.update(email_confirmed_at=None)
    again = api.post(f"{AUTH}/register/", registration(email=spelling))
    assert (again.status_code, list(again.json())) == (400, ["email"])
    login = api.post(f"{AUTH}/login/", {"email": spelling, "password": PASSWORD})
    assert login.status_code in {200, 403}  # the right password, whether or not confirmed
    for path in ("forgot_password", "resend_confirmation"):
        assert api.post(f"{AUTH}/{path}/", {"email": spelling}).status_code == 200
    assert [email.to for email in delivered()] == [[STORED]] * 4


def test_another_spelling_of_the_same_address_is_no_change(api: APIClient, user: User) -> None:
    User.objects.update(email=STORED)
    login = api.post(f"{AUTH}/login/", {"email": SPELLINGS[1], "password": PASSWORD})
    api.credentials(HTTP_AUTHORIZATION=f"Bearer {login.json()['token']}")
    patched = api.patch(f"/api/v1/users/{user.pk}/", {"email": SPELLINGS[2]})
    assert (patched.status_code, patched.json()["pending_email"]) == (200, None)


def test_the_database_refuses_a_second_account(user: User) -> None:
    make_user(email=SPELLINGS[1])
    with pytest.raises(IntegrityError), transaction.atomic():
        make_user(email=SPELLINGS[2])


@pytest.mark.parametrize("address", ["root@localhost", "al\u0131@example.com"])
def test_an_account_with_an_older_invalid_address_logs_in(api: APIClient, address: str) -> None:
    make_user(email=address)
    body = {"email": address, "password": PASSWORD}
    assert api.post(f"{AUTH}/login/", body).status_code == 200


class TestMigration:
    def migrate(self) -> None:
        module = import_module("apps.user.migrations.0003_normalise_addresses")
        with connection.schema_editor() as editor:
            for operation in module.Migration.operations:
                operation.code(apps, editor)

    def stored_before(self, email: str) -> User:
        user = make_user()
        User.objects.filter(pk=user.pk).update(email=Value(email))
        return user

    @pytest.mark.django_db(transaction=True)
    def test_existing_accounts_keep_logging_in(self, api: APIClient) -> None:
        addresses = [SPELLINGS[1].lower(), "root@localhost", "ana@example.com"]
        users = [self.stored_before(address) for address in addresses]
        self.migrate()
        for user, address in zip(users, addresses, strict=True):
            login = api.post(f"{AUTH}/login/", {"email": address, "password": PASSWORD})
            assert login.json()["user"]["id"] == user.pk

    @pytest.mark.django_db(transaction=True)
    def test_two_accounts_of_one_mailbox_are_named(
        self, capsys: pytest.CaptureFixture[str]
    ) -> None:
        twin, first = self.stored_before(SPELLINGS[1].lower()), self.stored_before(STORED)
        self.migrate()
        assert f"Users {twin.pk} and {first.pk}" in capsys.readouterr().out
