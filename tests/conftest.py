import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from pytest_copier.plugin import CopierFixture
from support import snapshot
from support.live import Server, Service, running_service, serving
from support.servers import installed
from support.updating import few_files, history_of_releases, part_of


def pytest_configure(config: pytest.Config) -> None:
    """Create the folder of the environments before pytest-xdist starts its workers."""
    if "PYTEST_XDIST_WORKER" not in os.environ:
        folder = tempfile.TemporaryDirectory(prefix="environments-", ignore_cleanup_errors=True)
        os.environ["ENVIRONMENTS"] = folder.name
        Path(folder.name).chmod(0o755)
        config.add_cleanup(folder.cleanup)


@pytest.fixture(scope="session")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The working tree, without the files that Git ignores."""
    return snapshot(tmp_path_factory.mktemp("template"))


@pytest.fixture(scope="session")
def copier(template: Path, sessionpatch: pytest.MonkeyPatch) -> CopierFixture:
    """pytest-copier's fixture for the whole session, because many tests share an installed service.

    It copies with ``unsafe=True``. The tests of updates call Copier without it, which proves that
    the template needs no trust.
    """
    return CopierFixture(template=template, defaults={}, monkeypatch=sessionpatch)


@pytest.fixture(scope="session")
def history(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """This repository with a tag for each release, and the working tree as the newest release."""
    return history_of_releases(tmp_path_factory.mktemp("history") / "template")


@pytest.fixture(scope="session")
def small_history(history: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same releases with few files, for tests of what does not depend on the other files."""
    return part_of(history, tmp_path_factory.mktemp("small") / "template", few_files)


@pytest.fixture(scope="session")
def short_path() -> Iterator[Path]:
    """A folder with a short path, because the path of the database's socket has a maximum length.

    Not in pytest's own folder, which other users cannot read: PostgreSQL does not run as root.
    """
    with tempfile.TemporaryDirectory(prefix="services-", ignore_cleanup_errors=True) as folder:
        yield Path(folder)


@pytest.fixture(scope="session")
def live_service(copier: CopierFixture, short_path: Path) -> Iterator[Service]:
    """A service with the default answers on PostgreSQL, running with production settings."""
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
    """A service on SQLite with every option off, running with production settings."""
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
