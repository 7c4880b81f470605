"""Runs take turns where memory is small, and none waits for long; elsewhere they don't wait at all."""

from __future__ import annotations

from pathlib import Path

import anyio
import pytest

from flows.service import turns
from flows.service.turns import LONGEST_WAIT_S, Turns, memory_is_small

GIB = 1 << 30


def test_one_at_a_time_but_not_for_long() -> None:
    """A run waits until the other ends, or has had its turn for so long that a backup can't wait any more."""
    now = [0.0]
    taking = Turns(small=True, clock=lambda: now[0])
    first = taking.acquire()
    now[0] = LONGEST_WAIT_S - 1
    with pytest.raises(anyio.WouldBlock):
        taking.acquire()
    taking.release(first)
    second = taking.acquire()
    now[0] += LONGEST_WAIT_S
    third = taking.acquire()
    assert len({first, second, third}) == 3
    assert taking.taken


def test_no_turns_where_memory_is_not_small() -> None:
    """A backup does not wait for a drill."""
    taking = Turns(small=False)
    assert taking.acquire() != taking.acquire()
    assert not taking.taken


V1, V2 = "9:cpu,cpuacct:/\n7:memory:{}\n1:name=systemd:/\n", "0::{}\n"
UNLIMITED = "9223372036854771712"


@pytest.mark.parametrize(
    ("own", "files", "small"),
    [
        (V2, {"memory.max": "536870912"}, True),
        (V2, {"memory.max": str(2 * GIB)}, False),
        (V2, {"memory.max": "max"}, False),
        (V2, {"system.slice/memory.max": "536870912", "system.slice/backup.service/memory.max": "max"}, True),
        (V1, {"memory/memory.limit_in_bytes": "536870912"}, True),
        (V1, {"memory/memory.limit_in_bytes": UNLIMITED}, False),
        (V1, {"memory/system.slice/backup.service/memory.limit_in_bytes": "536870912"}, True),
        (V1, {"memory/system.slice/memory.limit_in_bytes": "536870912", "memory.max": "max"}, True),
        (V1, {"memory/somebody.slice/memory.limit_in_bytes": "536870912"}, False),
        (V1 + V2, {"memory/system.slice/backup.service/memory.limit_in_bytes": "536870912"}, True),
        (V2, {}, False),
        ("", {}, False),
    ],
)
def test_the_limit_of_a_container_or_a_service(
    own: str, files: dict[str, str], small: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The limit is that of the control group or of one above it, in either version of control groups."""
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text + "\n")
    (tmp_path / "own").write_text(own.replace("{}", "/system.slice/backup.service"))
    monkeypatch.setattr(turns, "_CGROUPS", tmp_path)
    monkeypatch.setattr(turns, "_OWN_CGROUP", tmp_path / "own")
    assert memory_is_small() == small
