import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from pytest_copier.plugin import CopierFixture
from support import snapshot
from support.live import Server, Service, running_service, serving
from support.servers import installed
from support.updating import history_of_releases


@pytest.fixture(scope="session")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The working tree, without what Git ignores."""
    return snapshot(tmp_path_factory.mktemp("template"))


@pytest.fixture(scope="session")
def copier(template: Path, sessionpatch: pytest.MonkeyPatch) -> CopierFixture:
    """pytest-copier's fixture for a whole session, as an installed service has many tests.

    It copies with ``unsafe=True``. That the template needs no trust is shown by the tests of
    updates, which call Copier without it.
    """
    return CopierFixture(template=template, defaults={}, monkeypatch=sessionpatch)


@pytest.fixture(scope="session")
def history(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """This repository with the tags of its releases, and the working tree as the newest."""
    return history_of_releases(tmp_path_factory.mktemp("history") / "template")


@pytest.fixture(scope="session")
def short_path() -> Iterator[Path]:
    """A folder for services that run: their database listens on a socket, whose path is bounded.

    Not in pytest's own folder: every start of pytest closes that to other users, and a
    PostgreSQL that root starts runs as one.
    """
    with tempfile.TemporaryDirectory(prefix="services-", ignore_cleanup_errors=True) as folder:
        yield Path(folder)


@pytest.fixture(scope="session")
def live_service(copier: CopierFixture, short_path: Path) -> Iterator[Service]:
    """A service with the default answers on PostgreSQL, running in production settings."""
    folder = installed(copier, short_path / "live")
    with running_service(folder, "postgres") as running:
        yield running


@pytest.fixture(scope="session", params=["gunicorn", "daphne", "uvicorn"])
def live_server(live_service: Service, request: pytest.FixtureRequest) -> Iterator[Server]:
    """Each of the servers that start_server.sh starts, in front of that service."""
    with serving(live_service, request.param) as running:
        yield running


@pytest.fixture(scope="session")
def sqlite_service(copier: CopierFixture, short_path: Path) -> Iterator[Service]:
    """A service on SQLite with every option off, running in production settings."""
    answers = {"use_channels": False, "use_event_sync": False, "use_docker": False}
    folder = installed(
        copier, short_path / "sqlite", database="sqlite", ci_provider="none", **answers
    )
    with running_service(folder, "sqlite") as running:
        yield running


@pytest.fixture(scope="session")
def sqlite_server(sqlite_service: Service) -> Iterator[Server]:
    """gunicorn in front of the service on SQLite."""
    with serving(sqlite_service, "gunicorn") as running:
        yield running
