"""Tell whether a database is what a restore of a backup would make, so that an interrupted restore of many can go on."""

from __future__ import annotations

from blocks.sql.server import Server
from tasks.engine.drill.round_trip import contents_of
from tasks.engine.drill.second_dump import dump_again
from tasks.engine.dump.summary import DumpSummary, TableCount
from tasks.engine.repository.manifest import Manifest
from tasks.engine.servers.programs import Client


def holds_already(database: Server, client: Client, manifest: Manifest) -> bool:
    """Whether a database has exactly the tables, rows and large objects of a backup, by dumping it."""
    tables = {t.name: TableCount(t.name, t.columns, 0) for t in manifest.tables}
    found = dump_again(database, client, DumpSummary(tables=tables, encoding=manifest.encoding), manifest)
    same = contents_of(found) == contents_of(manifest)
    large = (found.large_objects, found.large_object_digest) == (manifest.large_objects, manifest.large_object_digest)
    return same and large
