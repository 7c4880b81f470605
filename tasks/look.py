"""Look into backups without a server: what is in one, and how two differ."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from typing import Any

from blocks.config.plan import Plan
from blocks.errors import ConfigurationError, Problem, RestoreError
from tasks.clock import utc_now
from tasks.engine.dump.schema_parts import Differences, compare_statements
from tasks.engine.dump.schema_text import codec_of, plain_name
from tasks.engine.look.compare import compare
from tasks.engine.look.ranges import SqlRanges
from tasks.engine.look.rows import first_rows
from tasks.engine.look.schema import about, read_schema
from tasks.engine.repository.choice import choose
from tasks.engine.repository.key_at_hand import require_key
from tasks.engine.repository.manifest import Manifest, TableRecord
from tasks.engine.repository.members import all_members, member_with
from tasks.engine.repository.names import LATEST, without_ending
from tasks.engine.repository.nearest import answers
from tasks.engine.repository.of_plan import from_nearest, repository_of
from tasks.engine.wording import iso

_WITHIN_SCHEMA = re.compile(r'^(?:"(?:[^"]|"")*"|[^".]+)\.')


@dataclass(frozen=True)
class Opened:
    """A backup that is looked into: its manifest, and its SQL by ranges."""

    manifest: Manifest
    ranges: SqlRanges
    verdict: str

    def facts(self) -> dict[str, Any]:
        """Say what is in it, for people and scripts."""
        m = self.manifest
        return {
            "name": m.name, "database": m.database, "server_version": m.server_version, "taken_at": iso(m.started_at),
            "verdict": self.verdict, "without": m.without, "rows": m.rows, "raw_bytes": m.raw_bytes,
            "object_bytes": m.object_bytes, "sequences": len(m.sequences), "large_objects": m.large_objects,
            "extensions": m.extensions, "roles": list(m.roles), "recipients": list(m.fingerprints),
            "tables": [_listed(table) for table in m.tables],
        }  # fmt: skip

    def statements(self, table: TableRecord | None = None) -> list[str]:
        """Return the statements of its schema, or those about one table, in order."""
        schema, codec = read_schema(self.ranges, self.manifest), codec_of(self.manifest.encoding)
        if not schema.whole:
            raise RestoreError(
                "the schema is too large to show", hint="restore the backup, or read its object with gunzip"
            )
        texts = about(schema, table.name, codec) if table else list(schema.texts.values())
        return [text.decode(codec, "backslashreplace") for text in texts]

    def document(self, table: TableRecord | None, *, schema: bool, rows: int) -> dict[str, Any]:
        """Return what was asked for: of a table only its own facts, its statements, and its first rows."""
        made = (_listed(table) | {"digest": table.digest}) if table else self.facts()
        if schema:
            made["schema"] = self.statements(table)
        if rows and table:
            made["first_rows"] = first_rows(self.ranges, self.manifest, table, rows)
        return made | {"read_bytes": self.ranges.read_bytes}


def _listed(table: TableRecord) -> dict[str, Any]:
    return {"name": table.name, "rows": table.rows, "raw_bytes": table.raw_bytes, "columns": list(table.columns)}


def open_backup(plan: Plan, backup: str) -> Opened:
    """Open a backup by name (`latest`: the newest), in the nearest place that has it.

    Raises KeyMissing for an encrypted one without a key, and RestoreError for one that another tool made.
    """
    if plan.databases:
        plan = next(answers(plan, lambda at: member_with(all_members(at), backup).plan, _silent))[1]
    return from_nearest(plan, lambda at: _opened(at, without_ending(backup)))


def _opened(plan: Plan, name: str) -> Opened:
    repository = repository_of(plan)
    found = choose(plan, repository, None if name == LATEST else name, utc_now(), _silent)
    require_key(repository, found)
    manifest = repository.manifest_even_unlisted(found)
    if manifest is None:
        raise RestoreError(
            f"{found.name} has no manifest, so nothing says what is in it",
            hint="another tool made it: read it with gunzip",
        )
    report = repository.report(found)
    return Opened(manifest, SqlRanges(repository, found), report.verdict.value if report else "not drilled")


def _silent(*_: object) -> None:
    """Say nothing: what is odd about the choice is said where something is done with it."""


def table_named(manifest: Manifest, wanted: str) -> TableRecord:
    """Find a table by its name, with or without schema and quotes; raises ConfigurationError."""
    tables = manifest.tables
    for same in (
        lambda t: t.name == wanted,
        lambda t: plain_name(t.name) == plain_name(wanted),
        lambda t: _unquoted(t.name) == _unquoted(wanted),
        lambda t: _unquoted(_WITHIN_SCHEMA.sub("", t.name)) == _unquoted(wanted),
    ):
        if found := [table for table in tables if same(table)]:
            break
    if len(found) == 1:
        return found[0]
    if found:
        fault = f"{manifest.name} has several tables named {wanted}: {', '.join(t.name for t in found[:5])}"
    else:
        fault = f"{manifest.name} has no table named {wanted}"
    raise ConfigurationError([Problem(fault, f"pg-roundtrip show {manifest.name} lists its tables")])


def _unquoted(name: str) -> str:
    return name.replace('"', "")


def comparison(before: Opened, now: Opened, table: str | None = None, *, schema: bool = False) -> dict[str, Any]:
    """Compare two backups by their manifests, or one table of both; with `schema`, also their statements."""
    found = compare(before.manifest, now.manifest)
    if table:
        names = {one.name for one in found.tables} & set(_named_in(before, now, table))
        found = replace(found, tables=tuple(t for t in found.tables if t.name in names), parts=(), others={})
        found = replace(found, same_tables=int(not found.tables))
    made = asdict(found) | {"same": found.same}
    if schema:
        differences = _compared_schemas(before, now)
        made["schema"] = {
            kind: [entry.title for entry in getattr(differences, kind)] for kind in ("missing", "added", "changed")
        }
    return made


def _named_in(before: Opened, now: Opened, table: str) -> Iterator[str]:
    """Yield the table's name in each backup that has it; raises ConfigurationError if none has."""
    errors = list[ConfigurationError]()
    for one in (before, now):
        try:
            yield table_named(one.manifest, table).name
        except ConfigurationError as error:
            errors.append(error)
    if len(errors) > 1:
        raise errors[-1]


def _compared_schemas(before: Opened, now: Opened) -> Differences:
    a, b = (read_schema(one.ranges, one.manifest) for one in (before, now))
    return compare_statements(a.normal, b.normal, exact=_printers(before) == _printers(now))


def _printers(one: Opened) -> tuple[str, str]:
    return one.manifest.client_version.partition(".")[0], one.manifest.server_version.partition(".")[0]
