"""Compare what went into a backup with what came out of its restore, and judge."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from blocks.errors import BackupDamaged, EmptyBackup, PgRoundtripError, RestoreFailed
from tasks.engine.dump_stream import DumpSummary
from tasks.engine.manifest import Check, Manifest, Verdict
from tasks.engine.restore_stream import Flow

_SHOWN = 5
_DIFF_LINES = 60
# What a server says when it could not try the restore: connections, rights, missing extensions, resources, shutdowns.
_NOT_THE_BACKUPS_FAULT = ("08", "25006", "28", "42501", "0A000", "53", "55006", "57", "58")


@dataclass(frozen=True)
class Contents:
    """What a dump holds of one table, or of the large objects together."""

    rows: int
    digest: str


def contents_of(source: Manifest | DumpSummary) -> dict[str, Contents]:
    """The tables of a manifest or of a scanned dump; the large objects count as one more."""
    tables = source.tables.values() if isinstance(source, DumpSummary) else source.tables
    found = {t.name: Contents(t.rows, t.digest) for t in tables}
    if source.large_objects:
        found["(large objects)"] = Contents(source.large_objects, source.large_object_digest)
    return found


def check_stream(manifest: Manifest | None, flow: Flow) -> list[Check]:
    """Check the object as it flowed by: it was read whole, and holds what the manifest says."""
    whole = Check(name="dump complete", result="passed", evidence=f"{flow.summary.raw_bytes} bytes of SQL")
    if manifest is None:
        no = "no manifest: another tool made this backup"
        return [Check(name="object as stored", result="not possible", evidence=no), whole]
    stored = Check(
        name="object as stored", result="passed", evidence=f"{flow.object_bytes} bytes, SHA-256 {flow.sha256}"
    )
    differences = [*compare_contents(contents_of(manifest), contents_of(flow.summary))]
    if manifest.schema_digest != flow.summary.schema_digest:
        differences.append("the schema is another one")
    return [stored, whole, _check("manifest matches the object", differences, f"{len(manifest.tables)} tables")]


def check_round_trip(stored: DumpSummary, restored: DumpSummary, *, foreign: bool = False) -> list[Check]:
    """Compare the stored dump with a dump of its restored copy: tables, rows, contents, schema, sequences.

    A foreign backup may have been dumped with other options than ours (`--inserts`, `--no-owner`, `--clean`): what a
    dump of ours then has more of, or prints otherwise, is no damage and cannot be compared.
    """
    before, after = contents_of(stored), contents_of(restored)
    gone = [f"{name} is missing" for name in before if name not in after]
    added = [f"{name} was not in the backup" for name in after if name not in before]
    counts = [
        f"{name}: {before[name].rows} rows went in, {after[name].rows} came back"
        for name in before
        if name in after and before[name].rows != after[name].rows
    ]
    digests = [
        f"{name}: the contents of its {before[name].rows} rows changed"
        for name in before
        if name in after and before[name].rows == after[name].rows and before[name] != after[name]
    ]
    behind = [
        f"{name} stands at {restored.sequences[name][0] if name in restored.sequences else 'nothing'}, was {value}"
        for name, (value, called) in stored.sequences.items()
        if restored.sequences.get(name) != (value, called)
    ]
    return [
        _check("tables present", gone if foreign else gone + added, f"{len(before)} tables"),
        _check("row counts", counts, f"{stored.rows} rows"),
        _check("row digests", digests, f"{len(before)} digests"),
        _check_schema(stored, restored, foreign=foreign),
        _check("sequences", behind, f"{len(stored.sequences)} sequences"),
    ]


def compare_contents(before: Mapping[str, Contents], after: Mapping[str, Contents]) -> Iterable[str]:
    """Name every table in which two dumps differ."""
    for name in sorted(before.keys() | after.keys()):
        if before.get(name) != after.get(name):
            yield f"{name}: {before.get(name)} is not {after.get(name)}"


def _check_schema(stored: DumpSummary, restored: DumpSummary, *, foreign: bool) -> Check:
    """Compare the statements; what two major versions of pg_dump print differently is no difference of the schema."""
    differences = explain_schema(stored, restored)
    versions = (stored.client_version, restored.client_version)
    if differences and versions[0] != versions[1]:
        differences.insert(0, "printed by pg_dump {} and {}".format(*versions))
    check = _check("schema", differences, f"{stored.schema_statements} statements")
    same_major = len({version.partition(".")[0] for version in versions}) == 1
    comparable = same_major and not foreign
    return check if comparable or not differences else check.model_copy(update={"result": "not possible"})


def explain_schema(stored: DumpSummary, restored: DumpSummary) -> list[str]:
    """A unified diff of the statements that differ, at most 60 lines; empty when the schemas are equal."""
    if stored.schema_digest == restored.schema_digest:
        return []
    before = sorted(
        text.decode(errors="replace") for d, text in stored.schema_kept.items() if d not in restored.schema_kept
    )
    after = sorted(
        text.decode(errors="replace") for d, text in restored.schema_kept.items() if d not in stored.schema_kept
    )
    lines = [
        *difflib.unified_diff(
            "\n".join(before).splitlines(), "\n".join(after).splitlines(), "stored", "restored", lineterm="", n=1
        )
    ]
    if len(lines) > _DIFF_LINES:
        lines = [*lines[:_DIFF_LINES], f"… and {len(lines) - _DIFF_LINES} lines more"]
    return ["\n".join(lines) or "the number of statements differs"]


def judge(checks: Iterable[Check]) -> Verdict:
    """PROVEN when nothing failed; a check that was not possible is named in the report, not held against it."""
    return Verdict.FAILED if any(c.result == "failed" for c in checks) else Verdict.PROVEN


def blame(error: PgRoundtripError) -> Verdict:
    """Whether an error that ended a drill says that the backup is bad, or nothing about it."""
    if isinstance(error, BackupDamaged | EmptyBackup):
        return Verdict.FAILED
    if not isinstance(error, RestoreFailed) or not error.sqlstate:
        return Verdict.INCONCLUSIVE
    # Roles and tablespaces live outside of a database, so no backup of one can bring them.
    role_missing = error.sqlstate == "42704" and error.context.startswith("role ")
    outside = role_missing or "tablespace " in error.context
    if outside or error.sqlstate.startswith(_NOT_THE_BACKUPS_FAULT):
        return Verdict.INCONCLUSIVE
    return Verdict.FAILED


def _check(name: str, differences: list[str], evidence: str) -> Check:
    if not differences:
        return Check(name=name, result="passed", evidence=evidence)
    more = [f"… and {len(differences) - _SHOWN} more"] if len(differences) > _SHOWN else []
    return Check(name=name, result="failed", evidence="; ".join(differences[:_SHOWN] + more))
