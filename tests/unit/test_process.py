"""A child program ends with us, and can clean up after itself when interrupted."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from pathlib import Path
from typing import Any, NoReturn

import pytest

from tasks.engine import process
from tests.processes import ended

PATIENT = 'trap "touch cleared; exit 1" TERM; echo begun; while :; do sleep 0.05; done'
STUBBORN = 'trap "" TERM; echo begun; echo $$ > pid; while :; do sleep 0.05; done'


@pytest.fixture
def interrupted(monkeypatch: pytest.MonkeyPatch) -> None:
    """Simulate being told to stop as soon as a program has started."""
    read = os.read

    def interrupting(descriptor: int, size: int) -> bytes:
        data = read(descriptor, size)
        if data == b"begun\n":
            raise KeyboardInterrupt
        return data

    monkeypatch.setattr(os, "read", interrupting)
    monkeypatch.setattr(process, "_END_S", 1)


@pytest.mark.usefixtures("interrupted")
def test_an_interrupted_program_may_clear_up(tmp_path: Path) -> None:
    """An interrupted program gets time to clean up: killed at once, initdb would leave shared memory behind."""
    with pytest.raises(KeyboardInterrupt):
        process.run(["sh", "-c", PATIENT], {"PATH": os.environ["PATH"]}, cwd=tmp_path)
    assert (tmp_path / "cleared").exists()


@pytest.mark.usefixtures("interrupted")
def test_an_interrupted_program_that_does_not_end_is_killed(tmp_path: Path) -> None:
    """A program that won't stop doesn't keep us from stopping."""
    with pytest.raises(KeyboardInterrupt):
        process.run(["sh", "-c", STUBBORN], {"PATH": os.environ["PATH"]}, cwd=tmp_path)
    assert not (tmp_path / "cleared").exists()


def test_a_stop_while_a_program_starts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A signal that arrives before anyone holds the program still ends it with all that it has started."""

    def stop(number: int, _frame: object) -> NoReturn:
        raise SystemExit(128 + number)

    class Slow(subprocess.Popen[bytes]):
        def __init__(self, *args: Any, **options: Any) -> None:
            super().__init__(*args, **options)
            while not (written := tmp_path / "pid").exists() or not written.read_text().endswith("\n"):
                time.sleep(0.01)
            signal.raise_signal(signal.SIGTERM)

    monkeypatch.setattr(subprocess, "Popen", Slow)
    before = signal.signal(signal.SIGTERM, stop)
    try:
        with pytest.raises(SystemExit):
            process.run(["sh", "-c", "sleep 600 & echo $! > pid; wait"], {"PATH": os.environ["PATH"]}, cwd=tmp_path)
        assert signal.getsignal(signal.SIGTERM) is stop
    finally:
        signal.signal(signal.SIGTERM, before)
    assert ended(int((tmp_path / "pid").read_text()))
