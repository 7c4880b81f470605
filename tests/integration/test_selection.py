"""What a plan leaves out is known to the manifest, the drill, the verdict and the restore, on every version."""

from __future__ import annotations

import json
from collections.abc import Callable

import pytest

from flows.backup import backup
from flows.restore import restore
from flows.restore_drill import restore_drill
from tests.conftest import MAJORS, Ended, FlowRun, NewDatabase
from tests.integration.objects import LIBRARY, asked


@pytest.mark.parametrize("major", MAJORS)
def test_rows_that_are_left_out(
    major: int, new_database: NewDatabase, flow_run: FlowRun, command_line: Callable[..., Ended]
) -> None:
    """The rows of a table stay out; everything else is proven, and wherever the verdict is said, so is this."""
    server, copy = new_database(major, LIBRARY), new_database(major)
    made = flow_run(backup, server, environ={"BACKUP_EXCLUDE_TABLE_DATA": "books"}).result
    assert (made.without, made.rows, made.warnings) == ("the rows of 1 table", 20, [])
    drilled = flow_run(restore_drill, server)
    assert drilled.state == "PROVEN (without the rows of 1 table)", drilled.result.cause
    listed = command_line("list")
    assert "PROVEN (without the rows of 1 table)" in listed.out
    assert json.loads(command_line("list", "--json").out)[0]["without"] == "the rows of 1 table"
    assert flow_run(restore, to=copy, backup="latest").error is None
    assert asked(copy, "SELECT (SELECT count(*) FROM authors), (SELECT count(*) FROM books)") == [(20, 0)]
