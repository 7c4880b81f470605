"""Differences between two dumps are judged by the versions that printed them."""

from __future__ import annotations

from typing import Any

import pytest

from tasks.engine.drill.round_trip import check_contents, check_schema
from tasks.engine.dump.scanner import DumpScanner
from tasks.engine.dump.schema_text import RULES
from tasks.engine.dump.summary import DumpSummary
from tasks.engine.repository import checks as checklist
from tasks.engine.repository.manifest import Check, Manifest, PartRecord

INDEX = "CREATE INDEX i ON public.t USING btree (a);"
TABLE = "CREATE TABLE public.t (\n    a integer\n);"
FUNCTION = "CREATE FUNCTION public.f() RETURNS integer\n    LANGUAGE sql\n    AS $$SELECT {}$$;"


def scanned(client: str, *statements: str, server: str = "") -> DumpSummary:
    """Return a dump of these statements, as a version of pg_dump would print it."""
    scanner = DumpScanner(keep_schema=True)
    header = f"--\n-- PostgreSQL database dump\n--\n\n-- Dumped from database version {server or client}\n-- Dumped by pg_dump version {client}\n\n"
    scanner.feed((header + "\n\n".join(statements) + "\n\n--\n-- PostgreSQL database dump complete\n--\n\n").encode())
    summary = scanner.finish()
    assert not summary.problem
    return summary


def manifest_of(stored: DumpSummary) -> Manifest:
    """Return the manifest of a dump, as far as the comparison reads it."""
    parts = {n: PartRecord(statements=p.statements, digest=p.digest) for n, p in stored.parts.items()}
    fields: dict[str, Any] = {
        "tables": (), "sequences": (), "large_objects": 0, "large_object_digest": stored.large_object_digest,
        "schema_rules": RULES, "schema_digest": stored.schema_digest, "schema_statements": stored.schema_statements,
        "schema_parts": parts,
    }  # fmt: skip
    return Manifest.model_construct(**fields)


def compared(stored: DumpSummary, restored: DumpSummary, manifest: Manifest | None = None) -> dict[str, Check]:
    known = manifest or manifest_of(stored)
    return {c.name: c for c in (*check_contents(known, stored, restored), *check_schema(known, stored, restored))}


def found(checks: dict[str, Check]) -> dict[str, str]:
    return {c.name: c.result for c in checks.values() if c.result != "passed"}


@pytest.mark.parametrize("server", ["", "15.2"])
def test_the_same_statements_are_the_same(server: str) -> None:
    """The order of statements doesn't matter."""
    checks = compared(scanned("16.4", TABLE, INDEX, server=server), scanned("16.4", INDEX, TABLE, server=server))
    assert found(checks) == {}
    assert checks[checklist.SCHEMA].evidence == "2 statements compared"


def test_one_version_words_one_thing_in_one_way() -> None:
    """A function with another body is another function, and both bodies are shown."""
    checks = compared(scanned("16.4", FUNCTION.format(1)), scanned("16.4", FUNCTION.format(2)))
    assert found(checks) == {checklist.SCHEMA: "failed"}
    evidence = checks[checklist.SCHEMA].evidence
    assert "changed: CREATE FUNCTION public.f()" in evidence
    assert "-    AS $$SELECT 1$$;\n+    AS $$SELECT 2$$;" in evidence


@pytest.mark.parametrize("restored", ["16.4", "16.9"])
def test_what_the_server_reads_differently_is_damage(restored: str) -> None:
    """Minor versions may word a statement differently, but the server was asked before."""
    checks = compared(scanned("16.4", TABLE, INDEX), scanned(restored, TABLE, INDEX.replace("(a)", "(a int4_ops)")))
    assert found(checks) == {checklist.SCHEMA: "failed", checklist.INDEXES: "failed"}
    assert "+CREATE INDEX i ON public.t USING btree (a int4_ops);" in checks[checklist.SCHEMA].evidence


@pytest.mark.parametrize("restored", ["16.4", "18.1"])
def test_what_the_server_could_not_read_is_unknown(restored: str) -> None:
    """Nothing that differs counts as equal because nobody could tell; what is missing is still missing."""
    before, changed = scanned("16.4", TABLE, INDEX), INDEX.replace("(a)", "(a int4_ops)")
    for after, result in ((scanned(restored, TABLE, changed), "not possible"), (scanned(restored, TABLE), "failed")):
        checks = {c.name: c for c in check_schema(manifest_of(before), before, after, "the disk was full")}
        assert found(checks) == {checklist.SCHEMA: result, checklist.INDEXES: result}
    assert (
        "the disk was full"
        in check_schema(manifest_of(before), before, scanned(restored, TABLE, changed), "the disk was full")[0].evidence
    )


@pytest.mark.parametrize("restored", ["16.4", "16.9", "18.1"])
def test_what_is_not_there_is_missing_in_every_version(restored: str) -> None:
    """A missing index is found across all versions: none leaves it out."""
    checks = compared(scanned("16.4", TABLE, INDEX), scanned(restored, TABLE))
    assert found(checks) == {checklist.SCHEMA: "failed", checklist.INDEXES: "failed"}
    assert "not restored: CREATE INDEX i ON public.t" in checks[checklist.INDEXES].evidence


def test_another_major_version_is_asked_only_whether_it_is_there() -> None:
    """Across major versions only presence is compared, and the report says how many were worded differently."""
    checks = compared(scanned("15.4", FUNCTION.format(1)), scanned("18.1", FUNCTION.format("1 AS one")))
    assert found(checks) == {}
    assert "1 of them are worded differently by pg_dump 15.4 and pg_dump 18.1" in checks[checklist.SCHEMA].evidence


@pytest.mark.parametrize("restored", ["16.4", "16.9", "18.1"])
def test_what_the_manifest_says_is_compared_whatever_the_versions(restored: str) -> None:
    """An object that differs from its manifest is found even though it restores faithfully."""
    manifest = manifest_of(scanned("16.4", TABLE, INDEX))
    checks = compared(scanned("16.4", TABLE), scanned(restored, TABLE), manifest)
    assert found(checks) == {checklist.SCHEMA: "failed", checklist.INDEXES: "failed"}
    assert checks[checklist.INDEXES].evidence == "the manifest's 1 statements are not the 0 in the object"


UNLOGGED = "CREATE UNLOGGED TABLE public.cache (\n    a integer\n);"
ROWS = "COPY public.cache (a) FROM stdin;\n{}\\.\n"


@pytest.mark.parametrize(("table", "rows", "result"), [
    (UNLOGGED, "", "warning"), (UNLOGGED, "1\n", "failed"), (UNLOGGED.replace("UNLOGGED ", ""), "", "failed"),
])  # fmt: skip
def test_an_unlogged_table_of_a_standby_comes_back_empty(table: str, rows: str, result: str) -> None:
    """A standby can't read its rows; any other table without rows, and rows from nowhere, are damage."""
    checks = compared(scanned("16.4", table), scanned("16.4", table, ROWS.format(rows)))
    assert found(checks) == {checklist.TABLES: result}


def test_the_rows_of_an_unlogged_table_that_were_lost_later() -> None:
    """What the manifest has must be in the object, unlogged or not."""
    whole = scanned("16.4", UNLOGGED, ROWS.format("1\n"))
    manifest = manifest_of(whole).model_copy(update={"tables": tuple(whole.tables.values())})
    assert found(compared(scanned("16.4", UNLOGGED), whole, manifest))[checklist.TABLES] == "failed"
