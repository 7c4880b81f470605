"""A database of more than a gigabyte is backed up and restored within the specified time."""

from __future__ import annotations

import json
from collections.abc import Callable

import pytest

from flows.demo.sample import load_sample
from tests.conftest import Ended, NewDatabase

BACKUP_LIMIT_S, DRILL_LIMIT_S = 10 * 60, 15 * 60


@pytest.mark.long
@pytest.mark.timeout(2400)
def test_a_database_of_a_gigabyte(new_database: NewDatabase, command_line: Callable[..., Ended]) -> None:
    """A database of a gigabyte is backed up and PROVEN; commands slower than specified would be killed here."""
    server = new_database(16)
    load_sample(server, 1200)
    assert server.inspect().size_bytes > 1 << 30
    made = command_line("backup", "--json", server=server, timeout_s=BACKUP_LIMIT_S)
    assert made.status == 0, made.err
    drilled = command_line("drill", "--json", server=server, timeout_s=DRILL_LIMIT_S)
    report = json.loads(drilled.out)
    assert (drilled.status, report["verdict"]) == (0, "PROVEN"), drilled.err
    assert {c["result"] for c in report["checks"]} == {"passed"}
