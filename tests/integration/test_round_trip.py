"""The round trip on every major version: what was dumped comes back, and the drill confirms it."""

from __future__ import annotations

import json
from collections.abc import Callable

import pytest

from blocks.s3.client import ObjectStore
from blocks.sql.server import Server
from tests.conftest import MAJORS, Ended, databases_of
from tests.integration.objects import asked

INDEXES = """SELECT count(*) FROM pg_indexes i JOIN pg_class c ON c.relname = i.indexname AND c.relkind = 'i'
WHERE i.schemaname !~ '^pg_' AND i.schemaname <> 'information_schema'"""


@pytest.mark.parametrize("major", MAJORS)
def test_a_hard_database_is_proven(
    major: int,
    hard_database: Callable[[int], Server],
    command_line: Callable[..., Ended],
    storage: ObjectStore,
) -> None:
    """Everything that is hard to dump and compare is PROVEN, three queries count it, and no database is left behind."""
    server = hard_database(major)
    before = databases_of(server)
    made = command_line("backup", "--json", server=server)
    assert made.status == 0, made.err
    backup = json.loads(made.out)
    assert backup["tables"] == 20
    drilled = command_line("drill", "--json", server=server)
    report = json.loads(drilled.out)
    assert (drilled.status, report["verdict"], report["cause"]) == (0, "PROVEN", "")
    assert {c["result"] for c in report["checks"]} == {"passed"}
    said = [c["evidence"] for c in report["checks"] if c["name"].startswith("query: ")]
    ((indexes,),) = asked(server, INDEXES)
    assert said == ["20 tables", f"{backup['rows']:,} rows", f"{indexes} indexes"]
    assert databases_of(server) == before
    listed = json.loads(command_line("list", "--json").out)
    assert [(b["name"], b["rows"], b["verdict"]) for b in listed] == [(backup["name"], backup["rows"], "PROVEN")]
