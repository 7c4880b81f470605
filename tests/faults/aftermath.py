"""Check everything after a fault: the message, that no backup was lost, and that nothing was left behind."""

from __future__ import annotations

import hashlib
import sys
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from unittest import mock

import psutil
import pytest

from blocks.s3.client import ObjectStore
from blocks.sql.server import Server
from flows import cli
from tasks.engine.repository.manifest import DrillReport
from tasks.engine.repository.repository import Repository
from tests.conftest import Ran, databases_of
from tests.integration.objects import manifest_of, object_of
from tests.processes import children_of

PROGRAMS = ("pg_dump", "postgres")
# A phrase that must occur in each sentence's hint.
_HINTS = {
    "Cannot connect to database": "DATABASE_URL",
    "The database is behind a pooler in transaction mode": "address of the server itself",
    "pg_dump failed": "lock",
    "S3 upload failed": "S3_",
    "Failed to download backup from S3": "S3_",
    "S3 request failed": "S3_BUCKET",
    "Access Denied": "S3_ACCESS_KEY_ID",
    "No backups found in S3": "pg-roundtrip backup",
    "Restore failed": "cannot be trusted",
}
_SETTLE_S = 30  # a server takes a moment to notice that its client is gone


class Aftermath:
    """A snapshot from before a fault, to compare with afterwards; `folder` is where temporary files go."""

    def __init__(self, storage: ObjectStore, folder: Path, caplog: pytest.LogCaptureFixture, *servers: Server) -> None:
        self.storage, self.folder, self._caplog = storage, folder, caplog
        self._databases = [(server, databases_of(server)) for server in servers]
        self._children = set(_children())
        self._backups = _whole_backups(storage)

    def assert_said(self, ran: Ran, sentence: str, state: str = "Failed", hint: str = "") -> None:
        """Check the run's final state, the command's exit status, and the specified sentence and a hint in the log.

        `hint` is a phrase in the hint when it differs from the usual one.
        """
        said = ran.result.cause if isinstance(ran.result, DrillReport) else getattr(ran.error, "sentence", "")
        assert said.startswith(sentence), said
        assert (ran.state, exit_status(ran)) == (state, 3 if state == "INCONCLUSIVE" else 1)
        records = [record.getMessage() for record in self._caplog.records if record.levelname == "ERROR"]
        hints = [text.partition("\nHINT: ")[2] for text in records if text.startswith(said)]
        assert hints, records
        assert all((hint or _HINTS[sentence]) in given for given in hints), hints

    def assert_nothing_lost(self, *, uploads_may_stay: bool = False, removed: frozenset[str] = frozenset()) -> None:
        """Check that only `removed` backups are gone, that each listed backup is intact, and that nothing is left over.

        `uploads_may_stay` is for faults that prevent aborting an upload: the next run must sweep it then.
        """
        backups = _whole_backups(self.storage)
        assert set(self._backups) - set(backups) <= removed, "a listed backup is gone"
        for name in backups:
            assert_restorable(self.storage, name)
        assert uploads_may_stay or pending(self.storage) == []
        for server, before in self._databases:
            assert databases_of(server) - before == set(), "scratch databases were left behind"
        assert sorted(self.folder.iterdir()) == []
        await_that(lambda: not set(_children()) - self._children, "child processes exit")


def exit_status(ran: Ran) -> int:
    """Return the exit status of `pg-roundtrip` for a flow with this outcome."""

    def ended(*_: object, **__: object) -> object:
        if ran.error:
            raise ran.error
        return ran.result

    command = "drill" if isinstance(ran.result, DrillReport) else "backup"
    with (
        mock.patch.multiple(cli, _run=ended, _require=mock.DEFAULT),
        mock.patch("flows.cli.signal.signal"),
        mock.patch.object(sys, "argv", ["pg-roundtrip", command]),
        pytest.raises(SystemExit) as end,
    ):
        cli.main()
    return int(end.value.code or 0)


def assert_restorable(storage: ObjectStore, name: str) -> None:
    """Check that a listed backup's object matches its manifest, byte for byte."""
    data, manifest = object_of(storage, name), manifest_of(storage, name)
    assert (len(data), hashlib.sha256(data).hexdigest()) == (manifest.object_bytes, manifest.sha256), name


def pending(storage: ObjectStore) -> list[tuple[str, str]]:
    """Return all multipart uploads in the test's folder, with their ids."""
    return storage.list_uploads(timedelta(0), datetime.now(UTC) + timedelta(days=1))


def await_that(condition: Callable[[], object], what: str) -> None:
    """Wait for a condition that must become true; fail the test when it never does."""
    deadline = time.monotonic() + _SETTLE_S
    while not condition():
        assert time.monotonic() < deadline, f"never happened: {what}"
        time.sleep(0.05)


def _whole_backups(storage: ObjectStore) -> list[str]:
    return [backup.name for backup in Repository(storage).backups() if backup.has_manifest]


def _children() -> list[psutil.Process]:
    """Return our programs among the children of this process."""
    return children_of(None, *PROGRAMS)
