"""Report errors to Sentry, if SENTRY_DSN is set: everything that is logged as ERROR or CRITICAL.

A report contains what the log contains of an exception, so it has no local variables, bodies or
headers. Sentry's integrations are off: they collect data, and patch libraries to do so.
https://docs.sentry.io/platforms/python/configuration/options/
"""

import logging
import sys
import traceback
from typing import TYPE_CHECKING, Any

import sentry_sdk
from sentry_sdk.integrations.atexit import AtexitIntegration
from sentry_sdk.integrations.dedupe import DedupeIntegration
from structlog.contextvars import get_contextvars

from api_core.env import BASE_DIR
from api_core.logs import OWN_LOGGERS, without_secrets
from common.tracebacks import error_chain, message_without_data

if TYPE_CHECKING:
    from sentry_sdk.types import Event, Hint

# The fields of a log line that a report contains, with the user's id.
TAGS = ("request_id", "trace_id")


class SentryHandler(logging.Handler):
    """A handler of ``logging``, which starts Sentry's client and reports each record."""

    def __init__(self, dsn: str) -> None:
        super().__init__(logging.ERROR)
        # The client reads SENTRY_RELEASE and SENTRY_ENVIRONMENT itself.
        sentry_sdk.init(
            dsn,
            default_integrations=False,
            integrations=[AtexitIntegration(lambda _pending, _timeout: None), DedupeIntegration()],
            include_local_variables=False,
            max_request_body_size="never",
            max_breadcrumbs=0,
            before_send=_scrub,
        )

    def emit(self, record: logging.LogRecord) -> None:
        # structlog's records have a dict as their message.
        fields: Any = record.msg if isinstance(record.msg, dict) else {"event": record.msg}
        fields = {"exc_info": record.exc_info, **get_contextvars(), **fields}
        error = _error(fields["exc_info"])
        # Without an exception, this line is an intended response such as 503.
        if fields["event"] == "request_finished":
            return
        event: Event = {
            "level": "fatal" if record.levelno >= logging.CRITICAL else "error",
            "logger": record.name,
            # Without the arguments, which may contain data.
            "logentry": {"message": str(fields["event"])},
            "tags": {name: fields[name] for name in TAGS if name in fields},
        }
        if fields.get("user_id"):
            event["user"] = {"id": fields["user_id"]}
        hint = {"exc_info": (type(error), error, error.__traceback__)} if error else None
        sentry_sdk.capture_event(event, hint)


def _error(exc_info: Any) -> BaseException | None:
    match exc_info:
        case BaseException():
            return exc_info
        case (_, error, _):
            return error if isinstance(error, BaseException) else None
        case True:
            return sys.exception()
    return None


def _scrub(event: "Event", hint: "Hint") -> "Event":
    """Replace the exceptions of any report by what the log contains, and redact secrets."""
    if "exc_info" in hint:
        chain = reversed(list(error_chain(hint["exc_info"][1])))
        event["exception"] = {"values": [_describe(error) for error in chain]}
    redacted: Event = without_secrets(event)
    return redacted


def _describe(error: BaseException) -> dict[str, Any]:
    return {
        "type": type(error).__qualname__,
        "module": type(error).__module__,
        "value": message_without_data(error),
        "stacktrace": {
            "frames": [_frame(each) for each in traceback.extract_tb(error.__traceback__)]
        },
    }


def _frame(frame: traceback.FrameSummary) -> dict[str, Any]:
    filename = frame.filename.removeprefix(f"{BASE_DIR}/")
    return {
        "abs_path": frame.filename,
        "filename": filename,
        "function": frame.name,
        "lineno": frame.lineno,
        "context_line": frame.line,
        "in_app": filename.startswith(tuple(f"{name}/" for name in OWN_LOGGERS)),
    }
