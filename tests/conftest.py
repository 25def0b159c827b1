import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from support import snapshot
from updating import history_of_releases


@pytest.fixture(scope="session")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The working tree, without what Git ignores."""
    return snapshot(tmp_path_factory.mktemp("template"))


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
