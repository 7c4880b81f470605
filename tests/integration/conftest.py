"""Fixtures shared by several modules of integration tests."""

from __future__ import annotations

import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from blocks.s3.client import ObjectStore
from blocks.sql.server import Server
from flows import restore_drill
from flows.demo.services import Storage
from tasks.drill import rehearse_restore
from tests.conftest import MAJORS, command_environment
from tests.integration.children import Children
from tests.integration.two_places import places

__all__ = ["places"]


@pytest.fixture
def home(server_of: Callable[[int], Server], monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A separate folder for a test's throwaway servers; commands get it as TMPDIR."""
    for major in MAJORS:
        server_of(major)  # they outlive the test
    # Not in pytest's own folder, which the user that servers run as can't enter.
    folder = Path(tempfile.mkdtemp(prefix="home-"))
    folder.chmod(0o711)
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    yield folder
    shutil.rmtree(folder)


@pytest.fixture
def unguarded(monkeypatch: pytest.MonkeyPatch) -> None:
    """Disable the guard on statements: those that a test injects into a backup simulate what a server does."""
    monkeypatch.setattr("tasks.engine.dump.scanner.DumpScanner._refuse", lambda *_: None)


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Retry a rehearsal's transient errors as often as in production, but without waiting."""
    monkeypatch.setattr(restore_drill, "rehearse_restore", rehearse_restore.with_options(retry_delay_seconds=0))


@pytest.fixture
def disk(home: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[str], Path]]:
    """A function that mounts a small disk for throwaway servers; `options` are those of a tmpfs."""
    made = []

    def mount(options: str) -> Path:
        folder = home / "disk"
        folder.mkdir()
        command = ["mount", "-t", "tmpfs", "-o", f"mode=711,{options}", "tmpfs", str(folder)]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode:
            pytest.fail(f"these tests mount a small tmpfs, which is not permitted here: {done.stderr.strip()}")
        made.append(folder)
        monkeypatch.setattr(tempfile, "tempdir", str(folder))
        return folder

    yield mount
    for folder in made:
        subprocess.run(["umount", str(folder)], check=True)


@pytest.fixture
def children(storage_server: Storage, storage: ObjectStore, prefect_api: str, tmp_path: Path) -> Iterator[Children]:
    """Processes that execute runs as a worker or a runner does."""
    made = Children(prefect_api, command_environment(storage_server, storage, prefect_api, tmp_path), tmp_path)
    yield made
    made.end()
