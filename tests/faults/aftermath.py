"""Look at everything after a fault: what was said, that no backup was lost, and that nothing was left lying about."""

from __future__ import annotations

import contextlib
import hashlib
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import psutil
import pytest

from blocks.postgres import PostgresServer
from blocks.storage import BackupStorage
from tasks.engine.catalog import read_catalog
from tasks.engine.manifest import DrillReport
from tests.conftest import Ran, databases_of
from tests.integration.objects import manifest_of, object_of

PROGRAMS = ("pg_dump", "psql", "postgres")
_SETTLE_S = 30  # a server takes a moment to notice that its client is gone


class Aftermath:
    """A look before a fault, to compare with after it; `folder` is where temporary files go."""

    def __init__(
        self, storage: BackupStorage, folder: Path, caplog: pytest.LogCaptureFixture, *servers: PostgresServer
    ) -> None:
        self.storage, self.folder, self._caplog = storage, folder, caplog
        self._databases = [(server, databases_of(server)) for server in servers]
        self._children = set(_children(None))
        self._backups = _whole_backups(storage)

    def assert_said(self, ran: Ran, sentence: str, state: str = "Failed") -> None:
        """The run ended in a state, with the specification's sentence; its hint stands in the log after it."""
        said = ran.result.cause if isinstance(ran.result, DrillReport) else getattr(ran.error, "sentence", "")
        assert said.startswith(sentence), said
        assert ran.state == state
        records = [record.getMessage() for record in self._caplog.records if record.levelname == "ERROR"]
        assert any(f"{sentence}" in text for text in records), records
        assert "HINT: " in self._caplog.text or (ran.error and ran.error.hint), self._caplog.text

    def assert_nothing_lost(
        self, *, pid: int | None = None, uploads_may_stay: bool = False, removed: frozenset[str] = frozenset()
    ) -> None:
        """No backup is gone but those that were to be `removed`, each that is listed is whole, and nothing is left over.

        `pid` is the process whose children are looked for, ours when there is none. `uploads_may_stay` is for faults
        after which nobody could abort them: the next run must sweep them then (`assert_swept`).
        """
        backups = _whole_backups(self.storage)
        assert set(self._backups) - set(backups) <= removed, "a backup was lost"
        for name in backups:
            assert_restorable(self.storage, name)
        assert uploads_may_stay or pending(self.storage) == []
        for server, before in self._databases:
            assert databases_of(server) - before == set(), "scratch databases"
        assert sorted(self.folder.iterdir()) == []
        await_that(lambda: not set(_children(pid)) - self._children, "child processes go")

    def assert_swept(self) -> None:
        """Nothing is pending after a run that swept what an earlier one had to leave."""
        assert pending(self.storage) == []


def assert_restorable(storage: BackupStorage, name: str) -> None:
    """A listed backup's object is the one that its manifest speaks of, to the byte."""
    data, manifest = object_of(storage, name), manifest_of(storage, name)
    assert (len(data), hashlib.sha256(data).hexdigest()) == (manifest.object_bytes, manifest.sha256), name


def pending(storage: BackupStorage) -> list[tuple[str, str]]:
    """All multipart uploads in the test's folder, with their ids."""
    return storage.list_uploads(timedelta(0), datetime.now(UTC) + timedelta(days=1))


def await_that(condition: Callable[[], object], what: str) -> None:
    """Wait for something that must come about; fails the test when it never does."""
    deadline = time.monotonic() + _SETTLE_S
    while not condition():
        assert time.monotonic() < deadline, f"never happened: {what}"
        time.sleep(0.05)


def _whole_backups(storage: BackupStorage) -> list[str]:
    return [backup.name for backup in read_catalog(storage) if backup.has_manifest]


def _children(pid: int | None) -> list[psutil.Process]:
    """Our programs among the children of a process: those that are no zombies."""
    found = []
    with contextlib.suppress(psutil.NoSuchProcess):
        for process in psutil.Process(pid).children(recursive=True):
            with contextlib.suppress(psutil.NoSuchProcess):
                if process.name() in PROGRAMS and process.status() != psutil.STATUS_ZOMBIE:
                    found.append(process)
    return found
