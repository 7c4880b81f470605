"""The same for several databases: what goes wrong with one costs the others nothing, and a stop ends all of them."""

from __future__ import annotations

import contextvars
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from blocks.errors import NoBackups, PgRoundtripError
from flows.runs.members import each

SOME: contextvars.ContextVar[str] = contextvars.ContextVar("some")


@pytest.mark.parametrize("at_once", [1, 2, 8])
def test_each_has_its_end(at_once: int) -> None:
    """In their order, with the errors of those that failed, expected or not."""

    def work(number: int) -> int:
        if number == 1:
            raise NoBackups
        if number == 2:
            raise ZeroDivisionError
        return number * 10

    ends = each(range(5), work, at_once)
    assert [end.result for end in ends] == [0, None, None, 30, 40]
    assert isinstance(ends[1].error, NoBackups)
    assert type(ends[2].error) is PgRoundtripError
    assert each([], work, at_once) == []


def test_so_many_at_once() -> None:
    """As many as wanted, no more, each in the context of its caller."""
    SOME.set("run")
    both, running, most, lock = threading.Barrier(2, timeout=30), 0, 0, threading.Lock()

    def work(_: int) -> str:
        nonlocal running, most
        with lock:
            running += 1
            most = max(most, running)
        both.wait()
        with lock:
            running -= 1
        return SOME.get()

    assert [end.result for end in each(range(6), work, 2)] == ["run"] * 6
    assert most == 2


STOPPED = """
import os
from flows.runs.members import each
from tasks.engine.process import Child

def work(number):
    try:
        with Child(["sleep", "600"], {"PATH": "/usr/bin:/bin"}, read=True) as child:
            os.write(1, b"began %d\\n" % number)
            child.wait()
    finally:
        os.write(1, b"cleaned %d\\n" % number)

def stop(*_):
    raise SystemExit(143)

import signal
signal.signal(signal.SIGTERM, stop)
each(range(9), work, 3)
"""


def test_a_stop_ends_all_of_them() -> None:
    """Programs are killed, what ran cleans up, and what waited never begins."""
    root = Path(__file__).parents[2]
    process = subprocess.Popen([sys.executable, "-c", STOPPED], cwd=root, stdout=subprocess.PIPE, text=True)
    assert process.stdout
    begun = {process.stdout.readline() for _ in range(3)}
    process.send_signal(signal.SIGTERM)
    out, _ = process.communicate(timeout=60)
    assert process.returncode == 143
    assert begun == {f"began {n}\n" for n in range(3)}
    assert sorted(out.split("\n")) == ["", "cleaned 0", "cleaned 1", "cleaned 2"]
