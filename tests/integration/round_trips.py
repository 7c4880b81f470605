"""Dump, restore and dump a database again without storage, as a drill does, and return the drill's findings."""

from __future__ import annotations

import os
from contextlib import AbstractContextManager
from typing import Any

import pytest

from blocks.sql.server import Server
from tasks.clock import utc_now
from tasks.engine.drill.rewording import Copy, in_the_backups_words
from tasks.engine.drill.round_trip import check_contents, check_schema
from tasks.engine.drill.sql_checks import run_sql_checks
from tasks.engine.dump.pg_dump import running_dump
from tasks.engine.dump.scanner import DumpScanner
from tasks.engine.dump.schema_text import RULES
from tasks.engine.dump.summary import DumpSummary
from tasks.engine.repository.manifest import Check, Manifest, PartRecord, SequenceRecord, TableRecord
from tasks.engine.restore.load import RestoreOptions
from tasks.engine.servers.programs import Client
from tasks.engine.servers.scratch import Locale, scratch_database
from tests.conftest import psql


def scanned_dump(server: Server, client: Client, like: DumpSummary | None = None) -> tuple[str, DumpSummary]:
    """Return a dump of a database and the scanner's summary; rows are digested in the column order of `like`."""
    columns = {t.name: t.columns for t in like.tables.values()} if like else None
    scanner, blocks = DumpScanner(columns, keep_schema=True), []
    with running_dump(server, client) as dump:
        while block := os.read(dump.output, 1 << 20):
            blocks.append(block)
            scanner.feed(block)
        dump.check_end()
    summary = scanner.finish()
    assert summary.problem == ""
    return b"".join(blocks).decode(), summary


def _table(name: str, rows: int, digest: str) -> TableRecord:
    return TableRecord(name=name, columns=(), rows=rows, digest=digest, raw_bytes=0, member_offset=0, skip_bytes=0)


def manifest_for(stored: DumpSummary) -> Manifest:
    """Return the manifest of a dump, as far as the comparison reads it."""
    fields: dict[str, Any] = {
        "tables": tuple(
            _table(t.name, t.rows, t.digest) for t in stored.tables.values()
        ),
        "sequences": tuple(
            SequenceRecord(name=name, value=value, called=called) for name, (value, called) in stored.sequences.items()
        ),
        "large_objects": stored.large_objects, "large_object_digest": stored.large_object_digest,
        "schema_rules": RULES, "schema_digest": stored.schema_digest, "schema_statements": stored.schema_statements,
        "schema_parts": {n: PartRecord(statements=p.statements, digest=p.digest) for n, p in stored.parts.items()},
        "extensions": {}, "collation": "C", "character_type": "C", "locale_provider": "c", "locale": "",
        "collation_version": "",
    }  # fmt: skip
    return Manifest.model_construct(**fields)


def taken_round(source: Server, copy: Server, client: Client, damage: str = "") -> list[Check]:
    """Restore the source into the copy, apply `damage` to the copy, and return every check a drill would make."""
    dump, stored = scanned_dump(source, client)
    psql(client, copy, dump)
    if damage:
        psql(client, copy, damage)
    restored = scanned_dump(copy, client, stored)[1]
    manifest = manifest_for(stored)

    def another() -> AbstractContextManager[Server]:
        return scratch_database(copy, "verify", Locale(), utc_now(), pytest.fail)

    reading = in_the_backups_words(Copy(copy, client, another, RestoreOptions(), lambda: 600.0), stored, restored)
    contents, schema = (
        check_contents(manifest, stored, restored),
        check_schema(manifest, stored, reading.summary, reading.unread),
    )
    return [*contents, *schema, *run_sql_checks(copy, manifest, stored)]


def wrong(checks: list[Check]) -> dict[str, str]:
    """Return what failed, and why."""
    return {c.name: c.evidence for c in checks if c.result == "failed"}
