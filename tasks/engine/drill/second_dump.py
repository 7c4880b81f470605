"""Dump a restored copy through the same scanner that read the backup, so that the two can be compared."""

from __future__ import annotations

from blocks.errors import RestoreError
from blocks.sql.server import Server
from tasks.engine.dump.pg_dump import running_dump
from tasks.engine.dump.scanner import DumpScanner
from tasks.engine.dump.selection import arguments_for_copy
from tasks.engine.dump.source_settings import of_extensions
from tasks.engine.dump.summary import DumpSummary
from tasks.engine.dump.text_settings import read_under
from tasks.engine.repository.manifest import Manifest
from tasks.engine.servers.programs import Client
from tasks.engine.stream.pipeline import scan_dump


def dump_again(
    copy: Server,
    client: Client,
    stored: DumpSummary,
    manifest: Manifest | None,
    *,
    keep_schema: bool = False,
    timeout_s: float | None = None,
) -> DumpSummary:
    """Summarise a dump of the copy of a backup that held `stored`, which leaves out what the backup leaves out.

    Use the stored dump's encoding and column order: a restored child table can list inherited columns first.
    """
    scanner = DumpScanner({t.name: t.columns for t in stored.tables.values()}, keep_schema=keep_schema)
    read, options = read_under(manifest), arguments_for_copy(manifest)
    monetary, settings = bool(read["monetary"]), of_extensions(read["settings"])
    with running_dump(
        copy, client, stored.encoding or None, timeout_s, monetary=monetary, settings=settings, options=options
    ) as dump:
        restored = scan_dump(dump, scanner)
    if restored.problem:
        raise RestoreError(f"the restored copy could not be dumped: {restored.problem}")
    return restored
