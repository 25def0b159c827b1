from pathlib import Path

import pytest
from support import snapshot


@pytest.fixture(scope="session")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The working tree, without what Git ignores."""
    return snapshot(tmp_path_factory.mktemp("template"))
