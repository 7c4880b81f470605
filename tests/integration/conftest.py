"""What several modules of integration tests need."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from blocks.postgres import PostgresServer
from tests.conftest import MAJORS


@pytest.fixture
def home(server_of: Callable[[int], PostgresServer], monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder of its own for the throwaway servers of a test; commands get it as TMPDIR."""
    for major in MAJORS:
        server_of(major)  # they outlive the test
    # Not in pytest's own folder, which is closed to the user that servers run as.
    folder = Path(tempfile.mkdtemp(prefix="home-"))
    folder.chmod(0o711)
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    yield folder
    shutil.rmtree(folder)
