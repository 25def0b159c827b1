"""``POST /api/v1/event-sync/``: another service confirms one of our events."""

import json
import logging
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from threading import Barrier
from typing import Any

import pytest
from django.db import connection, transaction
from django.http import HttpResponse
from django.utils import translation
from pytest_django import Settings
from rest_framework.exceptions import ValidationError
from rest_framework.test import APIClient

from apps.event_sync.errors import HandlerFailedError
from apps.event_sync.handlers import event_handler
from apps.event_sync.managers.consumer_msg import ConsumerMsg
from apps.event_sync.models import EventSync
from apps.event_sync.tests.inbound.helpers import (
    TYPE,
    confirmation,
    handled_by,
    make_event,
    refresh,
)
from apps.event_sync.tests.logs import logged
from apps.user.models import User
from apps.user.tests.factories import make_user

URL = "/api/v1/event-sync/"
KEY = "the key"

pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def app_key(settings: Settings) -> None:
    settings.APP_KEY = KEY


@pytest.fixture
def sender() -> APIClient:
    """The other service."""
    client = APIClient(raise_request_exception=False, headers={"Accept-Language": "en"})
    client.credentials(HTTP_AUTHORIZATION=f"Token {KEY}")
    return client


def post(sender: APIClient, body: object) -> tuple[int, dict[str, Any]]:
    raw = body if isinstance(body, bytes) else json.dumps(body).encode()
    response = sender.generic("POST", URL, raw, "application/json")  # type: ignore[arg-type]
    return response.status_code, response.json()


def rename(event: EventSync, obj_data: dict[str, Any]) -> None:
    """A handler that writes: it creates a user for each name."""
    for name in obj_data["names"]:
        make_user(first_name=name)
    if "fault" in obj_data:
        raise LookupError(obj_data["fault"])


@contextmanager
def invoices() -> Iterator[EventSync]:
    with handled_by(rename):
        yield make_event("invoice")


class TestConfirmation:
    def test_a_confirmation_marks_the_event_as_processed(self, sender: APIClient) -> None:
        event = make_event()
        status, body = post(sender, confirmation(event, foo="bar"))
        event.refresh_from_db()
        assert (status, body["event_id"]) == (200, event.pk)
        assert event.received
        assert event.processed
        assert event.log == ""
        assert body["processed"] is not None

    def test_a_confirmation_does_not_change_the_delivery_state(self, sender: APIClient) -> None:
        """The confirmation may arrive before the relay has recorded that it sent the event."""
        event = make_event()
        EventSync.objects.update(state=EventSync.State.SENDING, attempts=2)
        post(sender, confirmation(event))
        event.refresh_from_db()
        assert (event.state, event.attempts) == (EventSync.State.SENDING, 2)
        assert event.processed

    def test_a_confirmation_runs_the_handler_of_its_type(self, sender: APIClient) -> None:
        with invoices() as event:
            assert post(sender, confirmation(event, names=["Ana", "Bia"]))[0] == 200
        assert User.objects.count() == 2

    def test_consumer_msg_processes_a_confirmation_without_the_api(self) -> None:
        event = make_event()
        assert ConsumerMsg(**confirmation(event)).handle_msg_sync() == event
        assert refresh(event).processed

    def test_two_handlers_for_one_type_are_refused(self) -> None:
        with pytest.raises(ValueError, match=TYPE):
            event_handler(TYPE)(rename)


class TestReplay:
    def test_a_repeated_confirmation_has_no_effect(self, sender: APIClient) -> None:
        with invoices() as event:
            first = post(sender, confirmation(event, names=["Ana"]))
            stored = refresh(event).processed
            assert post(sender, confirmation(event, names=["Ana"])) == first
        assert User.objects.count() == 1
        assert refresh(event).processed == stored
        assert event.log == ""

    def test_a_repeated_confirmation_may_have_its_keys_in_another_order(
        self, sender: APIClient
    ) -> None:
        event = make_event()
        body = confirmation(event, b=1, a={"d": 1, "c": 2})
        assert post(sender, body)[0] == 200
        turned = {**body, "obj_data": {"a": {"c": 2, "d": 1}, "b": 1, "event_id": event.pk}}
        assert post(sender, dict(reversed(turned.items())))[0] == 200

    @pytest.mark.parametrize("changed", [{"names": ["Bia"]}, {"names": ["Ana"], "x": 1}, {}])
    def test_a_second_confirmation_with_other_data_is_a_conflict(
        self, sender: APIClient, changed: dict[str, Any]
    ) -> None:
        with invoices() as event:
            post(sender, confirmation(event, names=["Ana"]))
            status, body = post(sender, confirmation(event, **changed))
        assert (status, body["code"]) == (409, "payload_conflict")
        assert User.objects.count() == 1
        assert "payload_conflict" in refresh(event).log

    def test_a_second_confirmation_with_another_command_is_a_conflict(
        self, sender: APIClient
    ) -> None:
        event = make_event()
        post(sender, confirmation(event))
        status, body = post(sender, confirmation(event) | {"obj_cmd": "delete"})
        assert (status, body["code"]) == (409, "payload_conflict")

    def test_the_log_of_an_event_is_limited(self, sender: APIClient) -> None:
        event = make_event()
        EventSync.objects.update(log="x" * 9_990 + "\n")
        post(sender, confirmation(event) | {"obj_cmd": "delete"})
        log = refresh(event).log
        assert len(log) <= 10_000
        assert log.endswith('refused: "event_mismatch"\n')


class TestRefusal:
    @pytest.mark.parametrize(
        "event_id",
        [
            *["1", "x", "", 1.0, 1.5, 1e400, True, False, None, [], [1], {}, {"a": 1}],
            *[0, -1, 2**63, 2**64, 10**400, -(2**63)],
        ],
        ids=lambda value: repr(value)[:20],
    )
    def test_an_invalid_event_id_is_refused(self, sender: APIClient, event_id: object) -> None:
        body = {"obj_type": TYPE, "obj_data": {"event_id": event_id}, "obj_cmd": "put"}
        raw = json.dumps(body).replace("Infinity", "1e400").encode()
        status, answer = post(sender, raw)
        message = "event_id must be a positive integer."
        assert (status, answer) == (400, {"obj_data": [message]})

    def test_a_missing_event_id_is_refused(self, sender: APIClient) -> None:
        status, answer = post(sender, {"obj_type": TYPE, "obj_data": {}, "obj_cmd": "put"})
        assert (status, list(answer)) == (400, ["obj_data"])

    @pytest.mark.parametrize("event_id", [1, 10**12, 2**63 - 1])
    def test_an_unknown_event_id_is_not_found(self, sender: APIClient, event_id: int) -> None:
        body = {"obj_type": TYPE, "obj_data": {"event_id": event_id}, "obj_cmd": "put"}
        status, answer = post(sender, body)
        assert (status, answer["code"]) == (404, "unknown_event")

    def test_a_type_without_a_handler_is_refused(self, sender: APIClient) -> None:
        event = make_event("unheard of")
        status, answer = post(sender, confirmation(event))
        message = "This service does not process confirmations of this type."
        assert (status, answer) == (400, {"obj_type": [message]})
        event.refresh_from_db()
        assert '{"obj_type": ["unknown_obj_type"]}' in event.log
        assert event.received
        assert event.processed is None

    def test_a_confirmation_can_be_repeated_after_its_handler_was_added(
        self, sender: APIClient
    ) -> None:
        event = make_event("invoice")
        body = confirmation(event, names=[])
        assert post(sender, body)[0] == 400
        with handled_by(rename):
            assert post(sender, body)[0] == 200

    @pytest.mark.parametrize("wrong", [{"obj_type": "invoice"}, {"obj_cmd": "delete"}])
    def test_another_type_or_command_than_the_event_has_is_refused(
        self, sender: APIClient, wrong: dict[str, str]
    ) -> None:
        with handled_by(rename):
            event = make_event()
            status, answer = post(sender, confirmation(event, names=["Ana"]) | wrong)
        assert (status, answer["code"]) == (409, "event_mismatch")
        assert "event_mismatch" in refresh(event).log
        assert (event.received, event.processed, User.objects.count()) == (None, None, 0)

    @pytest.mark.parametrize("field", ["obj_type", "obj_data", "obj_cmd"])
    @pytest.mark.parametrize(
        "value", [None, "", [], 1, True, pytest.param("\x00", id="NUL"), "nope", ...], ids=repr
    )
    def test_an_invalid_field_is_refused(
        self, sender: APIClient, field: str, value: object
    ) -> None:
        body = confirmation(make_event()) | {field: value}
        if value is ...:
            del body[field]
        status, answer = post(sender, body)
        assert (status // 100, list(answer) in ([field], ["detail", "code"])) == (4, True)
        assert status != 404

    @pytest.mark.parametrize(
        "body",
        [
            *[b"", b"{", b"[]", b"null", b"1", b'"x"', b"[" * 100_000, b"NaN"],
            pytest.param(b"\xff", id="not UTF-8"),
            b'{"obj_type": "test_event_sync", "obj_cmd": "put", "obj_data": {"event_id": NaN}}',
            b'{"obj_type": "test_event_sync", "obj_cmd": "put", "obj_data": {"x": "\\ud800"}}',
        ],
        ids=lambda body: body[:10].decode(),
    )
    def test_an_invalid_body_is_refused(self, sender: APIClient, body: bytes) -> None:
        assert post(sender, body)[0] == 400

    @pytest.mark.parametrize("data", ["1e400", "-1e400", '"a\\u0000b"', '{"\\u0000": 1}'])
    def test_data_that_cannot_be_stored_are_refused(self, sender: APIClient, data: str) -> None:
        event = make_event()
        body = json.dumps(confirmation(event, x="?")).replace('"?"', data)
        status, answer = post(sender, body.encode())
        not_json = "Must be JSON without NaN or unpaired surrogates."
        message = not_json if "1e400" in data else "Null characters are not allowed."
        assert (status, answer) == (400, {"obj_data": [message]})
        assert refresh(event).processed is None

    def test_an_unpaired_surrogate_in_a_message_is_refused(self) -> None:
        """The parser of the API refuses it before."""
        message = ConsumerMsg(**confirmation(make_event(), x="\ud800"))
        with translation.override("en"), pytest.raises(ValidationError, match="surrogates"):
            message.handle_msg_sync()

    @pytest.mark.parametrize("text", ["\\u0000", "\\\\u0000", "é\u2028😀", "a" * 100_000])
    def test_data_that_only_resemble_a_nul_are_accepted(self, sender: APIClient, text: str) -> None:
        assert post(sender, confirmation(make_event(), x=text))[0] == 200

    def test_deeply_nested_data_are_no_server_error(self, sender: APIClient) -> None:
        """Up to and beyond the depth that the parser accepts."""
        for depth in (100, 500, 900, 950, 990, 1_000, 5_000, 50_000):
            body = json.dumps(confirmation(make_event(), x="?"))
            deep = body.replace('"?"', "[" * depth + "]" * depth)
            assert post(sender, deep.encode())[0] in {200, 400}

    def test_a_refusal_is_in_the_language_of_the_client(self, sender: APIClient) -> None:
        body = {"obj_type": TYPE, "obj_data": {"event_id": 7}, "obj_cmd": "put"}
        details = [
            sender.post(URL, body, headers={"Accept-Language": language}).json()["detail"]
            for language in ("en", "pt-BR")
        ]
        assert details == [
            "There is no event with this event_id.",
            "Não há evento com este event_id.",
        ]

    def test_a_handler_can_refuse_data(self, sender: APIClient) -> None:
        def refuse(event: EventSync, obj_data: dict[str, Any]) -> None:
            make_user()
            raise ValidationError({"names": ["None is known."]}, "unknown_names")

        with handled_by(refuse):
            event = make_event("invoice")
            status, answer = post(sender, confirmation(event))
        assert (status, answer) == (400, {"names": ["None is known."]})
        assert "unknown_names" in refresh(event).log
        assert (event.processed, User.objects.count()) == (None, 0)


class TestFailure:
    def test_a_failing_handler_is_rolled_back(
        self, sender: APIClient, caplog: pytest.LogCaptureFixture
    ) -> None:
        with invoices() as event:
            status, answer = post(sender, confirmation(event, names=["Ana"], fault="no such"))
        assert (status, answer["code"]) == (500, "handler_failed")
        (line,) = logged(caplog, "event_handler_failed")
        assert (line["event_id"], line["obj_type"]) == (str(event.pk), "invoice")
        assert "no such" not in json.dumps(answer)
        assert User.objects.count() == 0
        event.refresh_from_db()
        assert "LookupError: no such" in event.log
        assert event.received
        assert event.processed is None

    def test_an_error_message_that_cannot_be_stored_is_cleaned(
        self, sender: APIClient, caplog: pytest.LogCaptureFixture
    ) -> None:
        # pytest-xdist cannot transfer an unpaired surrogate.
        caplog.set_level(logging.CRITICAL, "apps.event_sync.managers.consumer_msg")

        def fail(event: EventSync, obj_data: dict[str, Any]) -> None:
            raise LookupError("no such \0\ud800" + "x" * 2000)

        with handled_by(fail):
            event = make_event("invoice")
            assert post(sender, confirmation(event))[0] == 500
        _time, _type, _command, text = refresh(event).log.split(" ", 3)
        assert text == f"{'LookupError: no such ??':x<1000}\n"

    def test_a_failed_confirmation_can_be_repeated(self, sender: APIClient) -> None:
        faults = [True, False]

        def fail_once(event: EventSync, obj_data: dict[str, Any]) -> None:
            make_user()
            if faults.pop(0):
                raise OSError("out of order")

        with handled_by(fail_once):
            event = make_event("invoice")
            codes = [post(sender, confirmation(event))[0] for _number in range(3)]
        assert codes == [500, 200, 200]
        assert User.objects.count() == 1
        assert refresh(event).log.count("OSError: out of order\n") == 1

    def test_a_database_error_in_a_handler_is_a_failure_of_the_handler(
        self, sender: APIClient
    ) -> None:
        """An SQL error aborts the handler's transaction, but the failure is still logged."""

        def clash(event: EventSync, obj_data: dict[str, Any]) -> None:
            make_user(email="ana@example.com")
            make_user(email="ana@example.com")

        with handled_by(clash):
            event = make_event("invoice")
            assert post(sender, confirmation(event))[0] == 500
        assert "IntegrityError" in refresh(event).log
        assert User.objects.count() == 0

    def test_a_failure_in_the_callers_transaction_is_logged(self) -> None:
        with invoices() as event, transaction.atomic():
            message = ConsumerMsg(**confirmation(event, names=["Ana"], fault="x"))
            with pytest.raises(HandlerFailedError):
                message.handle_msg_sync()
            assert User.objects.count() == 0
        assert "LookupError" in refresh(event).log


@pytest.mark.django_db(transaction=True)
def test_a_failure_is_logged_with_atomic_requests(
    sender: APIClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(connection.settings_dict, "ATOMIC_REQUESTS", True)
    with invoices() as event:
        assert post(sender, confirmation(event, names=[], fault="x"))[0] == 500
    assert "LookupError" in refresh(event).log


class TestOrder:
    def test_a_handler_can_compare_event_ids_to_ignore_an_older_event(
        self, sender: APIClient
    ) -> None:
        """Confirmations may arrive in any order. The ids of the events show which is newer."""
        seen: list[tuple[str, int]] = []

        def note(event: EventSync, obj_data: dict[str, Any]) -> None:
            seen.append((event.obj_cmd, event.pk))

        with handled_by(note):
            put, delete = make_event("invoice"), make_event("invoice", "delete")
            for event in (delete, put, delete):
                assert post(sender, confirmation(event))[0] == 200
        assert seen == [("delete", delete.pk), ("put", put.pk)]
        assert refresh(put).processed
        assert refresh(delete).processed


@pytest.mark.django_db(transaction=True)
class TestAtTheSameTime:
    def at_once(self, bodies: list[dict[str, Any]]) -> list[tuple[int, dict[str, Any]]]:
        barrier = Barrier(len(bodies))

        def send(body: dict[str, Any]) -> tuple[int, dict[str, Any]]:
            client = APIClient(raise_request_exception=False)
            client.credentials(HTTP_AUTHORIZATION=f"Token {KEY}")
            barrier.wait(10)
            try:
                return post(client, body)
            finally:
                connection.close()

        with ThreadPoolExecutor(len(bodies)) as pool:
            return list(pool.map(send, bodies))

    def test_simultaneous_duplicates_have_one_effect(self) -> None:
        with invoices() as event:
            answers = self.at_once([confirmation(event, names=["Ana"])] * 6)
        assert [status for status, _body in answers] == [200] * 6
        assert User.objects.count() == 1
        assert refresh(event).log == ""

    def test_only_one_of_two_simultaneous_payloads_takes_effect(self) -> None:
        with invoices() as event:
            names = ["Ana", "Bia", "Eva", "Lia"]
            answers = self.at_once([confirmation(event, names=[name]) for name in names])
        assert sorted(status for status, _body in answers) == [200, 409, 409, 409]
        assert User.objects.count() == 1
        assert refresh(event).log.count("payload_conflict") == 3


def test_responses_and_refusals_are_json(sender: APIClient) -> None:
    response: HttpResponse = sender.get(URL)
    assert (response.status_code, response.headers["Content-Type"]) == (405, "application/json")
