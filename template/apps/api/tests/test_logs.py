"""Production logs contain errors without secrets. OWASP ASVS 5.0: 16.2.5."""

import io
import json
import logging
import logging.config
import smtplib
import sys
import threading
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from django.db import DatabaseError, IntegrityError
from django.http import HttpResponse, StreamingHttpResponse
from django.test import RequestFactory
from rest_framework.test import APIClient
from structlog import get_logger

from api_core.env import BASE_DIR
from api_core.logs import logging_config
from api_core.request_log import RequestLogMiddleware
from apps.user.models import User
from apps.user.tests.factories import make_token, make_user
from apps.user.tokens import confirm_email_token
from common.tracebacks import describe_error, format_traceback

EMAIL, PASSWORD = "ana@example.com", "a password that is hard to guess"

SELF = Path(__file__)


class WebServiceError(Exception):
    def __init__(self, response: dict[str, Any]) -> None:
        super().__init__("a secret")
        self.response = response


type Lines = Callable[[], list[dict[str, Any]]]


@pytest.fixture
def lines(monkeypatch: pytest.MonkeyPatch) -> Iterator[Lines]:
    """Log as in production, and return the lines as objects."""
    for module in (sys, threading):
        monkeypatch.setattr(module, "excepthook", module.excepthook)
    stream = io.StringIO()
    config = logging_config(logging.INFO, as_json=True)
    configurator = logging.config.DictConfigurator(config)
    handler = logging.StreamHandler(stream)
    handler.setFormatter(configurator.configure_formatter(config["formatters"]["structured"]))
    handler.addFilter(configurator.configure_filter(config["filters"]["safe"]))
    logging.getLogger().addHandler(handler)
    yield lambda: [json.loads(line) for line in stream.getvalue().splitlines()]
    logging.getLogger().removeHandler(handler)


def test_a_failed_request_is_logged_without_its_data(
    api: APIClient, db: None, lines: Lines, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*, email: str, password: str) -> None:
        try:
            int(password)
        except ValueError as error:
            raise RuntimeError(f"{email} {password}") from error

    monkeypatch.setattr("apps.user.services.login", fail)
    response = api.post("/api/v1/auth/login/", {"email": EMAIL, "password": PASSWORD})
    assert response.status_code == 500
    (failed,) = [line for line in lines() if line["event"] == "request_failed"]
    assert "int(password)" in failed["exception"]
    assert failed["exception"].splitlines()[-1] == "RuntimeError"
    assert PASSWORD not in json.dumps(lines())
    assert EMAIL not in json.dumps(lines())


def test_a_database_error_is_described_without_the_row(db: None, lines: Lines) -> None:
    make_user(email=EMAIL)
    with pytest.raises(IntegrityError) as raised:
        User.objects.create(email=EMAIL)
    get_logger().warning("not_stored", error=raised.value)
    logging.getLogger("library").error("Not stored: %s", raised.value)
    cause = raised.value.__cause__
    assert cause is not None
    assert lines()[0]["error"] == f"django.db.utils.IntegrityError: {describe_error(cause)}"
    assert "unique" in lines()[0]["error"].lower()
    assert "unique" in lines()[1]["event"].lower()
    assert EMAIL not in json.dumps(lines())


@pytest.mark.parametrize(
    ("error", "description"),
    [
        (ValueError("a secret"), "ValueError"),
        (KeyError("a secret"), "KeyError"),
        (
            WebServiceError({"Error": {"Code": "AccessDenied", "Message": "a secret"}}),
            f"{__name__}.WebServiceError: AccessDenied",
        ),
        (WebServiceError({"Error": {}}), f"{__name__}.WebServiceError"),
        (WebServiceError({}), f"{__name__}.WebServiceError"),
        (DatabaseError("Not saved."), "django.db.utils.DatabaseError: Not saved."),
        (
            ConnectionRefusedError(111, "Connection refused"),
            "ConnectionRefusedError: Connection refused",
        ),
        (AttributeError("no attribute 'x'"), "AttributeError: no attribute 'x'"),
        (smtplib.SMTPDataError(554, b"No " + EMAIL.encode()), "smtplib.SMTPDataError: 554"),
        (smtplib.SMTPRecipientsRefused({EMAIL: (550, b"no")}), "smtplib.SMTPRecipientsRefused"),
    ],
)
def test_only_a_message_without_data_is_logged(error: Exception, description: str) -> None:
    assert describe_error(error) == description


@pytest.mark.parametrize("cause", ["given", "implicit", "none"])
def test_a_traceback_begins_with_the_cause(cause: str) -> None:
    def fail() -> None:
        try:
            int("a secret")
        except ValueError as error:
            if cause == "given":
                raise RuntimeError("a secret") from error
            if cause == "none":
                raise RuntimeError("a secret") from None
            raise RuntimeError("a secret")  # noqa: B904 - without a cause

    with pytest.raises(RuntimeError) as raised:
        fail()
    *causes, last = format_traceback(raised.value).split(
        "\nDuring handling of the above exception:\n\n"
    )
    assert [text.splitlines()[-1] for text in causes] == ([] if cause == "none" else ["ValueError"])
    assert last == "".join(traceback.format_tb(raised.tb)) + "RuntimeError"


def test_exceptions_are_logged_as_objects() -> None:
    """The log cannot remove data from an exception that is already text."""
    sources = [file for name in ("apps", "common") for file in (BASE_DIR / name).rglob("*.py")]
    assert not [file for file in sources if "error=str(error)" in file.read_text() and file != SELF]


def test_what_looks_like_a_secret_is_redacted(lines: Lines, user: User) -> None:
    secrets = [
        "https://app:hunter2@queue.example.com/",
        make_token(user),
        confirm_email_token.issue(user).token,
        EMAIL,
        "joão@exämple.com",
        "GET /admin/user/user/?q=ana%40example.com&o=1",
    ]
    for secret in secrets:
        logging.getLogger("library").error("Refused:\n%s", secret)
    logged = [line["event"] for line in lines()]
    assert logged[0] == "Refused:\nhttps://[redacted]queue.example.com/"
    assert logged[1:5] == ["Refused:\n[redacted]"] * 4
    assert logged[5] == "Refused:\nGET /admin/user/user/?q=[redacted]&o=1"


@pytest.mark.parametrize("long", ["a", "a:", "%40", "eyJ", "://:", "a@", "\\"])
def test_long_lines_are_redacted_in_linear_time(lines: Lines, long: str) -> None:
    """A quadratic pattern takes half a minute for this line."""
    logging.getLogger("library").error(long * 50_000)
    assert len(lines()) == 1


def test_uncaught_exceptions_of_processes_and_threads_are_logged(lines: Lines) -> None:
    def fail() -> None:
        raise RuntimeError(PASSWORD)

    try:
        fail()
    except RuntimeError as error:
        sys.excepthook(RuntimeError, error, error.__traceback__)
    thread = threading.Thread(target=fail)
    thread.start()
    thread.join()
    assert [line["event"] for line in lines()] == ["process_failed", "thread_failed"]
    assert all(line["exception"].endswith("\nRuntimeError") for line in lines())


def test_errors_with_a_circular_cause_are_logged(lines: Lines) -> None:
    first, second = ValueError(), ExceptionGroup("both", [KeyError("a secret")])
    first.__cause__, second.__cause__ = second, first
    logging.getLogger("library").error("Failed", exc_info=first)
    assert lines()[0]["exception"].endswith("\nValueError")
    assert "KeyError" in lines()[0]["exception"]


def test_libraries_do_not_log_at_debug() -> None:
    """Some of them log headers and bodies."""
    config = logging_config(logging.DEBUG, as_json=True)
    assert config["root"]["level"] == logging.INFO
    assert config["loggers"]["apps"]["level"] == logging.DEBUG


def test_the_log_line_of_a_request_contains_the_user_id(
    user_api: APIClient, user: User, lines: Lines
) -> None:
    user_api.get("/api/v1/users/me/")
    assert lines()[-1]["user_id"] == user.pk


def test_logging_a_request_with_a_session_cookie_takes_no_query(
    api: APIClient, lines: Lines
) -> None:
    api.cookies["sessionid"] = "abcdefghijklmnopqrstuvwxyz012345"
    assert api.get("/api/v1/health/").status_code == 200
    assert [line["event"] for line in lines()] == ["request_finished"]


def test_an_interrupted_stream_is_logged_with_the_id_of_its_request(
    rf: RequestFactory, lines: Lines
) -> None:
    def content() -> Iterator[bytes]:
        yield b"first"
        raise RuntimeError(PASSWORD)

    middleware = RequestLogMiddleware(lambda _request: StreamingHttpResponse(content()))
    response = middleware(rf.get("/stream/"))
    assert isinstance(response, StreamingHttpResponse)
    with pytest.raises(RuntimeError):
        list(response)
    finished, failed = lines()
    assert (finished["event"], failed["event"]) == ("request_finished", "streaming_failed")
    assert failed["request_id"] == finished["request_id"]
    assert failed["exception"].endswith("\nRuntimeError")


@pytest.mark.parametrize(("code", "level"), [(200, "info"), (404, "warning"), (503, "error")])
def test_the_status_sets_the_level_of_a_request(
    rf: RequestFactory, lines: Lines, code: int, level: str
) -> None:
    middleware = RequestLogMiddleware(lambda _request: HttpResponse(status=code))
    for _request in range(2):
        middleware(rf.get("/a/?b=c"))
    first, second = lines()
    assert (first["level"], first["code"], first["request"]) == (level, code, "GET /a/?b=c")
    assert first["request_id"] != second["request_id"]
