"""Tell whether a database is what a restore of a backup would make, so that an interrupted restore of many can go on."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass

from blocks.sql.server import Server
from tasks.engine.drill.rewording import Copy, Reading, in_the_backups_words
from tasks.engine.drill.round_trip import check_contents, check_schema, contents_of
from tasks.engine.drill.second_dump import dump_again
from tasks.engine.dump.schema_text import plain_name
from tasks.engine.dump.selection import arguments_for_copy
from tasks.engine.dump.summary import DumpSummary, TableCount
from tasks.engine.dump.text_settings import read_under
from tasks.engine.repository.manifest import Manifest
from tasks.engine.restore.load import RestoreOptions
from tasks.engine.servers.programs import Client


@dataclass(frozen=True)
class Found:
    """A database to compare with a backup, as a drill compares its copy, and what that takes."""

    database: Server
    client: Client
    manifest: Manifest
    another: Callable[[], AbstractContextManager[Server]]  # an empty database like it
    read: Callable[[], DumpSummary]  # the backup, with its schema
    timeout_s: float


def holds_already(found: Found) -> bool:
    """Whether a database has exactly the schema, sequences, rows and large objects of a backup, by dumping it."""
    manifest, there = found.manifest, _dump(found)
    options, left_out = RestoreOptions(gentle=True, **read_under(manifest)), arguments_for_copy(manifest)
    copy = Copy(found.database, found.client, found.another, options, lambda: found.timeout_s, left_out)
    return agrees(manifest, there, found.read, lambda stored: in_the_backups_words(copy, stored, there))


def agrees(
    manifest: Manifest, there: DumpSummary, read: Callable[[], DumpSummary], in_its_words: Callable[[DumpSummary], Reading]
) -> bool:  # fmt: skip
    """Whether the dump of a database says what a drill's would.

    The backup is read only if its rows are there and the schema is worded differently, as another version words it.
    """
    if not contents_of(manifest).items() <= contents_of(there).items():
        return False
    if _same(manifest, there):
        return True
    stored = read()
    reading = in_its_words(stored)
    schema = check_schema(manifest, stored, reading.summary, reading.unread)
    return all(c.result in ("passed", "warning") for c in (*check_contents(manifest, stored, there), *schema))


def _dump(found: Found) -> DumpSummary:
    tables = {t.name: TableCount(t.name, t.columns, 0) for t in found.manifest.tables}
    like = DumpSummary(tables=tables, encoding=found.manifest.encoding)
    return dump_again(found.database, found.client, like, found.manifest, keep_schema=True, timeout_s=found.timeout_s)


def _same(manifest: Manifest, there: DumpSummary) -> bool:
    """Whether all is the same to the letter, as where one version made and restored the backup."""
    sequences = {plain_name(s.name): (s.value, s.called) for s in manifest.sequences}
    return (
        contents_of(manifest) == contents_of(there)
        and (manifest.large_objects, manifest.large_object_digest) == (there.large_objects, there.large_object_digest)
        and manifest.schema_digest == there.schema_digest
        and sequences == {plain_name(name): stand for name, stand in there.sequences.items()}
    )
