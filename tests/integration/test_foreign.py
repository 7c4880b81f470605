"""A backup made by another tool is drilled with the checks that remain, and isn't reported as damaged for its style."""

from __future__ import annotations

import gzip
import json
import subprocess
from collections.abc import Callable

import pytest

from blocks.config.environment import child_environment
from blocks.s3.client import ObjectStore
from tasks.engine.repository import checks as checklist
from tasks.engine.servers.programs import Client
from tests.conftest import Ended, NewDatabase

_SCRIPT = """
CREATE TABLE t (id int PRIMARY KEY, v varchar CHECK (v IN ('a', 'b'))); INSERT INTO t VALUES (1, 'a'), (2, 'b');
CREATE TABLE empty (a int); GRANT SELECT ON t TO PUBLIC;
"""


@pytest.mark.parametrize(
    "options", ["--inserts", "--no-owner --no-acl", "--clean --if-exists", "--column-inserts --no-comments"]
)
def test_usual_options_of_pg_dump_are_no_damage(
    options: str, new_database: NewDatabase, command_line: Callable[..., Ended], storage: ObjectStore, clients: dict[int, Client]
) -> None:  # fmt: skip
    """What can't be compared with such a dump is `not possible` in the report, and no check fails."""
    server = new_database(16, _SCRIPT)
    command = [clients[16].program("pg_dump"), *options.split()]
    dumped = subprocess.run(command, env=child_environment(server.child_environment()), capture_output=True, check=True)
    storage.put(storage.key("backup_20260101_000000.sql.gz"), gzip.compress(dumped.stdout))
    drilled = command_line("drill", "--json", server=server)
    report = json.loads(drilled.out)
    assert (drilled.status, report["verdict"]) == (0, "PROVEN"), drilled.out
    results = {c["name"]: c["result"] for c in report["checks"]}
    assert set(results.values()) == {"passed", "not possible"}
    assert {results[name] for name in (checklist.MANIFEST, checklist.SIZE)} == {"not possible"}
    assert {results[name] for name in (checklist.COMPLETE, checklist.RESTORED)} == {"passed"}
    assert results[checklist.ROWS] == ("not possible" if "inserts" in options else "passed")
