"""Trace and measure queries: https://docs.djangoproject.com/en/6.1/topics/db/instrumentation/"""

import re
from collections.abc import Callable
from typing import Any

from django.db.backends.base.base import BaseDatabaseWrapper

from common import telemetry

_FIRST_WORD = re.compile(r"\A\W*(\w*)")


def trace_queries(connection: BaseDatabaseWrapper, **_kwargs: Any) -> None:
    """Trace the queries of a connection (a receiver of ``connection_created``)."""
    if _trace_query not in connection.execute_wrappers:
        connection.execute_wrappers.append(_trace_query)


def _trace_query(
    execute: Callable[..., Any],
    sql: str,
    params: Any,
    many: bool,  # noqa: FBT001 - the signature of a wrapper
    context: dict[str, Any],
) -> Any:
    # Neither the statement nor its parameters are exported.
    operation = _FIRST_WORD.findall(str(sql))[0].upper()
    with telemetry.database_call(context["connection"].vendor, operation):
        return execute(sql, params, many, context)
