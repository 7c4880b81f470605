"""psql runs restricted wherever it supports that, and an older one gives a warning."""

from __future__ import annotations

from pathlib import Path

import pytest

from tasks.engine.restore.psql import can_be_restricted
from tasks.engine.servers.programs import Client
from tasks.status.check import _unrestricted


@pytest.mark.parametrize(("major", "minor", "can"), [(15, 13, False), (15, 14, True), (16, 9, False), (17, 6, True), (18, 0, True), (12, 22, False)])  # fmt: skip
def test_an_older_psql_is_told_of(major: int, minor: int, can: bool) -> None:
    """An older psql gives a warning: only the scanner then keeps a backup's commands from a program that runs as us."""
    client = Client(major, minor, Path("/usr/bin"))
    assert can_be_restricted(client) is can
    assert [f.result for f in _unrestricted(client)] == ([] if can else ["warning"])
