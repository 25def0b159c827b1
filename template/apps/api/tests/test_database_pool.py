"""The check of pooled connections."""

from collections.abc import Iterator
from typing import Any

import psycopg
import pytest
from django.db import connection

from common.database_pool import check_connection

pytestmark = [
    pytest.mark.django_db,
    pytest.mark.skipif(connection.vendor != "postgresql", reason="It needs PostgreSQL."),
]


@pytest.fixture
def pooled() -> Iterator[psycopg.Connection[Any]]:
    """A connection of its own to the database of the tests."""
    parameters = connection.get_connection_params()
    parameters.pop("data_directory", None)
    with psycopg.connect(**parameters) as other:
        other.autocommit = True
        yield other


def test_an_idle_connection_needs_no_query(
    pooled: psycopg.Connection[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pooled, "execute", None)
    check_connection(pooled)


def test_a_connection_that_the_server_has_closed_fails_the_check(
    pooled: psycopg.Connection[Any],
) -> None:
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_terminate_backend(%s, 10000)", [pooled.info.backend_pid])
    with pytest.raises(psycopg.OperationalError):
        check_connection(pooled)
