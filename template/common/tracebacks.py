"""Exceptions as production logs them: where and what, without the data that they were about.

An exception's message often quotes data: PostgreSQL the refused row, SMTP the recipient, Python
the text that is not a number. So only messages that are known to quote none are logged.
OWASP ASVS 5.0: 14.2.1, 16.2.5.
"""

import sqlite3
import traceback
from collections.abc import Iterator
from typing import Any

from django.core.exceptions import ImproperlyConfigured
from django.db import Error as DatabaseError

# They name parts of a program, or what SQLite found wrong with a statement.
_WITHOUT_DATA = (
    AttributeError,
    ImportError,
    ImproperlyConfigured,
    NameError,
    TypeError,
    sqlite3.Error,
)
# PostgreSQL's class "data exception": the message quotes the value.
# https://www.postgresql.org/docs/current/errcodes-appendix.html
_DATA_EXCEPTION = "22"


def describe_error(error: BaseException) -> str:
    """Return an exception's type and, if it holds no data, its message."""
    name = f"{type(error).__module__}.{type(error).__qualname__}".removeprefix("builtins.")
    message = _message(error)
    return f"{name}: {message}" if message else name


def format_traceback(error: BaseException) -> str:
    """Return the traceback of an exception and of its causes, with ``describe_error`` of each."""
    return "\nDuring handling of the above exception:\n\n".join(
        "".join(traceback.format_tb(each.__traceback__)) + describe_error(each)
        for each in reversed(list(_chain(error)))
    )


def _message(error: BaseException) -> str:
    match error:
        case DatabaseError(__cause__=BaseException() as cause):
            return describe_error(cause)
        case DatabaseError():
            return str(error)
        case OSError(strerror=str() as reason):
            return reason
        case _ if isinstance(error, _WITHOUT_DATA):
            return str(error)
    return _code(error)


def _code(error: Any) -> str:
    """Return what psycopg, smtplib and botocore have instead of a message that is safe."""
    if hasattr(error, "diag"):
        return _of_postgresql(error)
    if hasattr(error, "smtp_code"):
        return str(error.smtp_code)
    if isinstance(getattr(error, "response", None), dict):
        return str(error.response.get("Error", {}).get("Code", ""))
    return ""


def _of_postgresql(error: Any) -> str:
    if error.sqlstate is None:
        # Of the connection: why there is none.
        return str(error).partition("\n")[0]
    if error.sqlstate.startswith(_DATA_EXCEPTION):
        return str(error.sqlstate)
    return str(error.diag.message_primary)


def _chain(error: BaseException | None) -> Iterator[BaseException]:
    seen: set[int] = set()
    while error is not None and id(error) not in seen:
        seen.add(id(error))
        yield error
        if isinstance(error, BaseExceptionGroup):
            yield from error.exceptions
        error = error.__cause__ or (None if error.__suppress_context__ else error.__context__)
