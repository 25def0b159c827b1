"""``POST /api/v1/event-sync/``: another service confirms an event of ours."""

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
    client = APIClient(raise_request_exception=False)
    client.credentials(HTTP_AUTHORIZATION=f"Token {KEY}")
    return client


def post(sender: APIClient, body: object) -> tuple[int, dict[str, Any]]:
    raw = body if isinstance(body, bytes) else json.dumps(body).encode()
    response = sender.generic("POST", URL, raw, "application/json")  # type: ignore[arg-type]
    return response.status_code, response.json()


def rename(event: EventSync, obj_data: dict[str, Any]) -> None:
    """A handler that writes: it makes a user of each name."""
    for name in obj_data["names"]:
        make_user(first_name=name)
    if "fault" in obj_data:
        raise LookupError(obj_data["fault"])


@contextmanager
def invoices() -> Iterator[EventSync]:
    with handled_by(rename):
        yield make_event("invoice")


class TestConfirmation:
    def test_marks_the_event(self, sender: APIClient) -> None:
        event = make_event()
        status, body = post(sender, confirmation(event, foo="bar"))
        event.refresh_from_db()
        assert (status, body["event_id"]) == (200, event.pk)
        assert event.received
        assert event.processed
        assert event.log == ""
        assert body["processed"] is not None

    def test_leaves_the_sending_alone(self, sender: APIClient) -> None:
        """The confirmation may come before the relay has noted that it sent the event."""
        event = make_event()
        EventSync.objects.update(state=EventSync.State.SENDING, attempts=2)
        post(sender, confirmation(event))
        event.refresh_from_db()
        assert (event.state, event.attempts) == (EventSync.State.SENDING, 2)
        assert event.processed

    def test_runs_the_handler_of_its_type(self, sender: APIClient) -> None:
        with invoices() as event:
            assert post(sender, confirmation(event, names=["Ana", "Bia"]))[0] == 200
        assert User.objects.count() == 2

    def test_by_the_class_itself(self) -> None:
        event = make_event()
        assert ConsumerMsg(**confirmation(event)).handle_msg_sync() == event
        assert refresh(event).processed

    def test_two_handlers_for_one_type_are_refused(self) -> None:
        with pytest.raises(ValueError, match=TYPE):
            event_handler(TYPE)(rename)


class TestReplay:
    def test_changes_nothing(self, sender: APIClient) -> None:
        with invoices() as event:
            first = post(sender, confirmation(event, names=["Ana"]))
            stored = refresh(event).processed
            assert post(sender, confirmation(event, names=["Ana"])) == first
        assert User.objects.count() == 1
        assert refresh(event).processed == stored
        assert event.log == ""

    def test_in_another_order_of_keys(self, sender: APIClient) -> None:
        event = make_event()
        body = confirmation(event, b=1, a={"d": 1, "c": 2})
        assert post(sender, body)[0] == 200
        turned = {**body, "obj_data": {"a": {"c": 2, "d": 1}, "b": 1, "event_id": event.pk}}
        assert post(sender, dict(reversed(turned.items())))[0] == 200

    @pytest.mark.parametrize("changed", [{"names": ["Bia"]}, {"names": ["Ana"], "x": 1}, {}])
    def test_with_other_data_is_a_conflict(
        self, sender: APIClient, changed: dict[str, Any]
    ) -> None:
        with invoices() as event:
            post(sender, confirmation(event, names=["Ana"]))
            status, body = post(sender, confirmation(event, **changed))
        assert (status, body["code"]) == (409, "payload_conflict")
        assert User.objects.count() == 1
        assert "payload_conflict" in refresh(event).log

    def test_of_another_command_is_a_conflict(self, sender: APIClient) -> None:
        event = make_event()
        post(sender, confirmation(event))
        status, body = post(sender, confirmation(event) | {"obj_cmd": "delete"})
        assert (status, body["code"]) == (409, "payload_conflict")

    def test_the_log_does_not_grow_for_ever(self, sender: APIClient) -> None:
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
    def test_what_is_no_event_id(self, sender: APIClient, event_id: object) -> None:
        body = {"obj_type": TYPE, "obj_data": {"event_id": event_id}, "obj_cmd": "put"}
        raw = json.dumps(body).replace("Infinity", "1e400").encode()
        status, answer = post(sender, raw)
        assert (status, list(answer)) == (400, ["obj_data"])

    def test_no_event_id(self, sender: APIClient) -> None:
        status, answer = post(sender, {"obj_type": TYPE, "obj_data": {}, "obj_cmd": "put"})
        assert (status, list(answer)) == (400, ["obj_data"])

    @pytest.mark.parametrize("event_id", [1, 10**12, 2**63 - 1])
    def test_an_event_that_is_not_there(self, sender: APIClient, event_id: int) -> None:
        body = {"obj_type": TYPE, "obj_data": {"event_id": event_id}, "obj_cmd": "put"}
        status, answer = post(sender, body)
        assert (status, answer["code"]) == (404, "unknown_event")

    def test_a_type_without_handler(self, sender: APIClient) -> None:
        event = make_event("unheard of")
        status, answer = post(sender, confirmation(event))
        assert (status, list(answer)) == (400, ["obj_type"])
        event.refresh_from_db()
        assert "unknown_obj_type" in event.log
        assert event.received
        assert event.processed is None

    def test_a_type_whose_handler_comes_later(self, sender: APIClient) -> None:
        event = make_event("invoice")
        body = confirmation(event, names=[])
        assert post(sender, body)[0] == 400
        with handled_by(rename):
            assert post(sender, body)[0] == 200

    @pytest.mark.parametrize("wrong", [{"obj_type": "invoice"}, {"obj_cmd": "delete"}])
    def test_what_the_event_is_not(self, sender: APIClient, wrong: dict[str, str]) -> None:
        with handled_by(rename):
            event = make_event()
            status, answer = post(sender, confirmation(event, names=["Ana"]) | wrong)
        assert (status, answer["code"]) == (409, "event_mismatch")
        assert "event_mismatch" in refresh(event).log
        assert (event.received, event.processed, User.objects.count()) == (None, None, 0)

    @pytest.mark.parametrize("field", ["obj_type", "obj_data", "obj_cmd"])
    @pytest.mark.parametrize("value", [None, "", [], 1, True, "\x00", "nope", ...], ids=repr)
    def test_a_field(self, sender: APIClient, field: str, value: object) -> None:
        body = confirmation(make_event()) | {field: value}
        if value is ...:
            del body[field]
        status, answer = post(sender, body)
        assert (status // 100, list(answer) in ([field], ["detail", "code"])) == (4, True)
        assert status != 404

    @pytest.mark.parametrize(
        "body",
        [
            *[b"", b"{", b"[]", b"null", b"1", b'"x"', b"[" * 100_000, b"\xff", b"NaN"],
            b'{"obj_type": "test_event_sync", "obj_cmd": "put", "obj_data": {"event_id": NaN}}',
            b'{"obj_type": "test_event_sync", "obj_cmd": "put", "obj_data": {"x": "\\ud800"}}',
        ],
        ids=lambda body: body[:10].decode("latin-1"),
    )
    def test_a_body(self, sender: APIClient, body: bytes) -> None:
        assert post(sender, body)[0] == 400

    @pytest.mark.parametrize("data", ["1e400", "-1e400", '"a\\u0000b"', '{"\\u0000": 1}'])
    def test_data_that_could_not_be_stored(self, sender: APIClient, data: str) -> None:
        event = make_event()
        body = json.dumps(confirmation(event, x="?")).replace('"?"', data)
        status, answer = post(sender, body.encode())
        assert (status, list(answer)) == (400, ["obj_data"])
        assert refresh(event).processed is None

    @pytest.mark.parametrize("text", ["\\u0000", "\\\\u0000", "é\u2028😀", "a" * 100_000])
    def test_data_that_look_like_it_can(self, sender: APIClient, text: str) -> None:
        assert post(sender, confirmation(make_event(), x=text))[0] == 200

    def test_deep_data(self, sender: APIClient) -> None:
        """As deep as the parser lets through, and deeper."""
        for depth in (100, 500, 900, 950, 990, 1_000, 5_000, 50_000):
            body = json.dumps(confirmation(make_event(), x="?"))
            deep = body.replace('"?"', "[" * depth + "]" * depth)
            assert post(sender, deep.encode())[0] in {200, 400}

    def test_in_the_clients_language(self, sender: APIClient) -> None:
        body = {"obj_type": TYPE, "obj_data": {"event_id": 7}, "obj_cmd": "put"}
        details = [
            sender.post(URL, body, headers={"Accept-Language": language}).json()["detail"]
            for language in ("en", "pt-BR")
        ]
        assert details == [
            "There is no event with this event_id.",
            "Não há evento com este event_id.",
        ]

    def test_a_handler_may_refuse_data(self, sender: APIClient) -> None:
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
    def test_takes_the_handlers_writes_back(self, sender: APIClient) -> None:
        with invoices() as event:
            status, answer = post(sender, confirmation(event, names=["Ana"], fault="no such"))
        assert (status, answer["code"]) == (500, "handler_failed")
        assert "no such" not in json.dumps(answer)
        assert User.objects.count() == 0
        event.refresh_from_db()
        assert "LookupError: no such" in event.log
        assert event.received
        assert event.processed is None

    def test_in_words_that_no_database_takes(
        self, sender: APIClient, caplog: pytest.LogCaptureFixture
    ) -> None:
        # pytest-xdist could not carry the half of a character.
        caplog.set_level(logging.CRITICAL, "apps.event_sync.managers.consumer_msg")

        def fail(event: EventSync, obj_data: dict[str, Any]) -> None:
            raise LookupError("no such \0\ud800")

        with handled_by(fail):
            event = make_event("invoice")
            assert post(sender, confirmation(event))[0] == 500
        assert "LookupError: no such ??" in refresh(event).log

    def test_is_tried_again(self, sender: APIClient) -> None:
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

    def test_of_the_database_within_the_handler(self, sender: APIClient) -> None:
        """An error of SQL spoils the handler's transaction, and not the note of it."""

        def clash(event: EventSync, obj_data: dict[str, Any]) -> None:
            make_user(email="ana@example.com")
            make_user(email="ana@example.com")

        with handled_by(clash):
            event = make_event("invoice")
            assert post(sender, confirmation(event))[0] == 500
        assert "IntegrityError" in refresh(event).log
        assert User.objects.count() == 0

    def test_inside_a_callers_transaction(self) -> None:
        with invoices() as event, transaction.atomic():
            message = ConsumerMsg(**confirmation(event, names=["Ana"], fault="x"))
            with pytest.raises(HandlerFailedError):
                message.handle_msg_sync()
            assert User.objects.count() == 0
        assert "LookupError" in refresh(event).log


@pytest.mark.django_db(transaction=True)
def test_a_failure_is_noted_where_a_request_is_one_transaction(
    sender: APIClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(connection.settings_dict, "ATOMIC_REQUESTS", True)
    with invoices() as event:
        assert post(sender, confirmation(event, names=[], fault="x"))[0] == 500
    assert "LookupError" in refresh(event).log


class TestOrder:
    def test_of_put_and_delete_is_told_to_the_handler(self, sender: APIClient) -> None:
        """What comes late is the handler's to judge: the events are numbered."""
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

    def test_duplicates_have_one_effect(self) -> None:
        with invoices() as event:
            answers = self.at_once([confirmation(event, names=["Ana"])] * 6)
        assert [status for status, _body in answers] == [200] * 6
        assert User.objects.count() == 1
        assert refresh(event).log == ""

    def test_one_of_two_payloads_wins(self) -> None:
        with invoices() as event:
            names = ["Ana", "Bia", "Eva", "Lia"]
            answers = self.at_once([confirmation(event, names=[name]) for name in names])
        assert sorted(status for status, _body in answers) == [200, 409, 409, 409]
        assert User.objects.count() == 1
        assert refresh(event).log.count("payload_conflict") == 3


def test_an_answer_is_json_and_so_is_a_refusal(sender: APIClient) -> None:
    response: HttpResponse = sender.get(URL)
    assert (response.status_code, response.headers["Content-Type"]) == (405, "application/json")
