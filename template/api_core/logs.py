"""Logging: plain text in development, JSON in production.

In production, passwords, tokens, e-mail addresses, connection strings and local variables are
removed from every line, including those of libraries. OWASP ASVS 5.0: 16.2.5.
"""

import copy
import logging
import re
import sys
import threading
from types import TracebackType
from typing import Any

import structlog
from structlog.types import EventDict, Processor, WrappedLogger

from common.tracebacks import describe_error, format_traceback

# DJANGO_LOG_LEVEL applies to these. Others log from INFO on, because some libraries log headers and
# bodies at DEBUG.
OWN_LOGGERS = ("api_core", "apps", "common", "django")

# Each alternative starts at a word boundary, so that long lines take linear time.
_SECRET = re.compile(
    r"""
      (?<=://)[^\s/"'@]*+@                      # the credentials of a URL
    | (?<![\w-])eyJ[\w-]+\.[\w-]+\.[\w-]+      # a JWT
    | (?<![\w-])[\w-]++:[\w-]{6}:[\w-]{43}     # a token of django.core.signing
    | (?<![^\s"'<>()\[\]{},:;=?&/@])           # an e-mail address
      [^\s"'<>()\[\]{},:;=?&/@]+?(?:@|%40)[\w.\[-]+
    """,
    re.VERBOSE,
)

_shared: list[Processor] = [
    structlog.contextvars.merge_contextvars,
    structlog.stdlib.add_logger_name,
    structlog.stdlib.add_log_level,
    structlog.processors.TimeStamper(fmt="iso", utc=True),
]

structlog.configure(
    processors=[
        structlog.stdlib.filter_by_level,
        *_shared,
        structlog.stdlib.PositionalArgumentsFormatter(),
        structlog.stdlib.ProcessorFormatter.wrap_for_formatter,
    ],
    logger_factory=structlog.stdlib.LoggerFactory(),
    wrapper_class=structlog.stdlib.BoundLogger,
    cache_logger_on_first_use=True,
)


def remove_secrets(_logger: WrappedLogger, _method: str, event: EventDict) -> EventDict:
    """Redact values that look like secrets, and data in exceptions (a structlog processor)."""
    return {name: without_secrets(value) for name, value in event.items()}


def describe_error_arguments(record: logging.LogRecord) -> logging.LogRecord:
    """Remove data from exceptions among the arguments of a log record (a filter of ``logging``)."""
    if record.args and isinstance(record.args, tuple):
        record = copy.copy(record)
        record.args = tuple(
            describe_error(value) if isinstance(value, BaseException) else value
            for value in record.args or ()
        )
    return record


def without_secrets(value: Any) -> Any:
    """Return a value with everything redacted that looks like a secret."""
    match value:
        case None | bool() | int() | float():
            return value
        case BaseException():
            return _SECRET.sub("[redacted]", describe_error(value))
        case dict():
            return {str(key): without_secrets(each) for key, each in value.items()}
        case list() | tuple():
            return [without_secrets(each) for each in value]
    text = value if isinstance(value, str) else repr(value)
    # Each alternative contains one of these. Most values do not, and are spared the pattern.
    if "@" in text or "%40" in text or "eyJ" in text or ":" in text:
        text = _SECRET.sub("[redacted]", text)
    return text


def log_uncaught(
    _type: type[BaseException], error: BaseException, _traceback: TracebackType | None
) -> None:
    """Log an uncaught exception instead of printing a traceback."""
    if isinstance(error, KeyboardInterrupt):
        return
    logging.getLogger(__name__).critical("process_failed", exc_info=error)


def log_uncaught_in_thread(arguments: threading.ExceptHookArgs) -> None:
    logging.getLogger(__name__).critical("thread_failed", exc_info=arguments.exc_value)


def logging_config(level: int, *, as_json: bool, sentry_dsn: str = "") -> dict[str, Any]:
    """Return ``LOGGING``, which logs to standard error from ``level`` on, and errors to Sentry."""
    sentry = {"class": "api_core.error_reports.SentryHandler", "dsn": sentry_dsn}
    renderers: list[Processor] = (
        [
            structlog.processors.ExceptionRenderer(lambda exc_info: format_traceback(exc_info[1])),
            remove_secrets,
            structlog.processors.JSONRenderer(ensure_ascii=False),
        ]
        if as_json
        else [
            structlog.dev.ConsoleRenderer(
                colors=sys.stderr.isatty(), exception_formatter=structlog.dev.plain_traceback
            )
        ]
    )
    if as_json:
        sys.excepthook = log_uncaught
        threading.excepthook = log_uncaught_in_thread
    return {
        "version": 1,
        "disable_existing_loggers": False,
        "formatters": {
            "structured": {
                "()": structlog.stdlib.ProcessorFormatter,
                "foreign_pre_chain": _shared,
                "processors": [
                    structlog.stdlib.ProcessorFormatter.remove_processors_meta,
                    *renderers,
                ],
            },
        },
        "filters": {"safe": {"()": lambda: describe_error_arguments}},
        "handlers": {
            "console": {
                "class": "logging.StreamHandler",
                "formatter": "structured",
                "filters": ["safe"] if as_json else [],
            },
            **({"sentry": sentry} if sentry_dsn else {}),
        },
        "root": {
            "handlers": ["console", "sentry"] if sentry_dsn else ["console"],
            "level": max(level, logging.INFO),
        },
        "loggers": {
            **{name: {"level": level} for name in OWN_LOGGERS},
            # The servers have configured these with handlers of their own.
            **{name: {"propagate": True} for name in ("gunicorn.error", "uvicorn")},
            # At DEBUG it logs the headers of handshakes, which contain tokens.
            "uvicorn.error": {"level": max(level, logging.INFO)},
            # api_core.request_log logs requests.
            **{
                name: {"level": "CRITICAL"}
                for name in ("django.request", "django.server", "uvicorn.access")
            },
        },
    }
