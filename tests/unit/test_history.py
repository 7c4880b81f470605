"""What cannot be recorded is said once, and only if it lasts."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from types import SimpleNamespace
from uuid import UUID, uuid4

import httpx
import pytest

from flows.service.environment import NO_HISTORY, OWN_SERVER, move_history
from flows.service.history import MOVED, History, sweep_temporary_homes
from flows.service.runner import PatientObserver


def test_a_failure_that_passes_is_not_said(caplog: pytest.LogCaptureFixture) -> None:
    """Prefect's server may answer 500 for a moment: nothing to say, and nothing to do without it."""
    now = [0.0]
    history = History(clock=lambda: now[0])
    history.failed("it answered 500")
    now[0] = 59
    history.failed("it answered 500")
    history.written()
    now[0] = 61
    history.failed("it answered 500")
    assert (history.fails, str(history), caplog.messages) == (False, "ok", [])


def test_a_failure_that_lasts_is_said_once(caplog: pytest.LogCaptureFixture) -> None:
    """After a minute the log says it, with a hint; then only that it is over."""
    caplog.set_level("INFO", "prefect.serve")
    now = [0.0]
    history = History(clock=lambda: now[0])
    for now[0] in (0, 60, 120):
        history.failed("it answered 500")
    assert history.fails
    assert str(history).startswith("not recorded since ")
    assert str(history).endswith(": it answered 500")
    history.written()
    assert (history.fails, str(history)) == (False, "ok")
    assert [message.partition(":")[0] for message in caplog.messages] == [
        "Runs cannot be recorded", "HINT", "Runs are recorded again"
    ]  # fmt: skip


def test_a_history_without_any_place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """If no folder can be written, the service starts without a history; so it does if the temporary one fails too."""
    command = ["python", "-m", "flows.serve", OWN_SERVER]
    monkeypatch.setenv(MOVED, "")
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "missing"))
    assert move_history(command, "Read-only file system") == ["python", "-m", "flows.serve", NO_HISTORY]
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    assert move_history(command, "database is locked") == ["python", "-m", "flows.serve", NO_HISTORY]
    history = History("database is locked", kept=False)
    assert (history.fails, str(history)) == (True, "not recorded until the next start: database is locked")


def test_cancellations_are_noticed_after_the_server_was_away() -> None:
    """However long Prefect's server was away, a run that is to be cancelled is noticed once it is back."""
    run = SimpleNamespace(id=uuid4())
    answers = [httpx.ReadError("reset")] * 5 + [[run], []]

    async def read_flow_runs(**_: object) -> object:
        answer = answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer

    noticed: list[UUID] = []

    def notice(flow_run_id: UUID) -> None:
        noticed.append(flow_run_id)

    observer = PatientObserver(notice, polling_interval=0)
    observer._client = SimpleNamespace(read_flow_runs=read_flow_runs)  # type: ignore[assignment]
    observer.add_in_flight_flow_run_id(run.id)
    asyncio.run(observer._check_for_cancelled_flow_runs())
    assert noticed == [run.id]


MAKER = """
import os, sys
from flows.service.history import temporary_home
print(temporary_home(), flush=True)
# As `serve` does: the lock must outlast this.
os.execv(sys.executable, [sys.executable, "-c", "input()"])
"""


def test_temporary_histories_are_swept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The next start removes what an ended service left, however it ended; that of a living service stays."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    somebodys = tmp_path / "pg-roundtrip-history-somebodys"
    somebodys.mkdir()
    command, environ = [sys.executable, "-c", MAKER], {**os.environ, "TMPDIR": str(tmp_path)}
    with subprocess.Popen(command, env=environ, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as service:
        assert service.stdout
        home = Path(service.stdout.readline().strip())
        (home / "prefect.db").write_text("a history")
        (home / "ui").mkdir()
        sweep_temporary_homes()
        assert (home / "prefect.db").exists()
        service.kill()
    sweep_temporary_homes()
    assert sorted(tmp_path.iterdir()) == [somebodys]
