"""HTTP as other people's clients speak it."""

import pytest
from live import Server

pytestmark = pytest.mark.xdist_group("reports")


def test_health_is_answered(live_server: Server, sqlite_server: Server) -> None:
    for server in (live_server, sqlite_server):
        assert server.api()("GET", "health/").body == {"status": "ok"}
        assert server.service.shell("result = 1 + 1") == 2
