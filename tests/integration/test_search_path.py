"""A dump that no server can restore because a function relies on search_path is FAILED, and the function is named."""

from __future__ import annotations

import pytest

from flows.backup import backup
from flows.restore_drill import restore_drill
from tests.conftest import MAJORS, FlowRun, NewDatabase

HELPER = "CREATE FUNCTION plain(t text) RETURNS text LANGUAGE sql IMMUTABLE AS $$ SELECT t $$;"
SQL = HELPER + "CREATE FUNCTION slug(t text) RETURNS text LANGUAGE sql IMMUTABLE AS $$ SELECT lower(plain(t)) $$;"
PLPGSQL = HELPER + (
    "CREATE FUNCTION slug(t text) RETURNS text LANGUAGE plpgsql IMMUTABLE AS $$ BEGIN RETURN lower(plain(t)); END $$;"
)
ROW = "INSERT INTO article (title) VALUES ('a secret title');"
NEEDS = {
    "generated column": "CREATE TABLE article (title text, s text GENERATED ALWAYS AS (slug(title)) STORED);" + ROW,
    "index": "CREATE TABLE article (title text);" + ROW + "CREATE INDEX ON article (slug(title));",
    "check": "CREATE TABLE article (title text CHECK (slug(title) <> 'x'));" + ROW,
    "materialized view": "CREATE TABLE article (title text);" + ROW
    + "CREATE MATERIALIZED VIEW m AS SELECT slug(title) AS s FROM article;",
}  # fmt: skip
CASES = [(major, SQL, "generated column") for major in MAJORS] + [(15, PLPGSQL, need) for need in NEEDS]


@pytest.mark.parametrize(("major", "function", "need"), CASES)
def test_the_function_is_named(
    major: int, function: str, need: str, new_database: NewDatabase, flow_run: FlowRun, caplog: pytest.LogCaptureFixture
) -> None:
    """Sentence and hint name the function and the cause, show no rows, and don't say to distrust the backup."""
    server = new_database(major, function + NEEDS[need])
    assert flow_run(backup, server).error is None
    drilled = flow_run(restore_drill, server)
    assert drilled.state == "FAILED"
    assert "slug" in drilled.result.cause
    assert "a secret title" not in drilled.result.encode().decode() + caplog.text
    assert "a dump is restored with an empty search_path; the function " in caplog.text
    assert "cannot be trusted" not in caplog.text
