"""A child program ends with us, and can clean up after itself when interrupted."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tasks.engine import process

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
