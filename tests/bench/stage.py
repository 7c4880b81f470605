"""Start what the benchmarks need: a production-like PostgreSQL server, a storage, and a database to dump."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from blocks.disk.folder_store import FolderStore
from blocks.s3.client import ObjectStore
from blocks.sql.server import Server, ServerFacts
from flows.demo.sample import load_sample
from flows.demo.services import Storage, free_ports, running_storage
from tasks.engine.servers.programs import Client, installed_clients, match_client
from tasks.engine.servers.sandbox import running_server
from tests.bench.measure import BenchFailed
from tests.processes import children_of

# The version that the recorded figures were measured with.
USUAL_MAJOR = 15
# Server defaults that the throwaway server overrides: measure what users actually run.
_AS_IN_PRODUCTION = {
    "fsync": "on",
    "full_page_writes": "on",
    "synchronous_commit": "on",
    "wal_level": "replica",
    "max_wal_senders": "10",
    "max_wal_size": "1GB",
    "autovacuum": "on",
    "shared_buffers": "128MB",
    "work_mem": "4MB",
    "maintenance_work_mem": "64MB",
    "max_locks_per_transaction": "64",
    "jit": "on",
    "dynamic_shared_memory_type": "posix",
    "default_toast_compression": "pglz",
}
_TABLES = "SELECT oid::regclass::text FROM pg_class WHERE relkind = 'r' AND relnamespace = 'public'::regnamespace"


@dataclass(frozen=True)
class Stage:
    """The servers to measure on, and the database to dump."""

    database: Server
    facts: ServerFacts
    rows: int
    client: Client
    storage: Storage
    second: Storage
    disk: Path
    home: Path

    @property
    def restored(self) -> Server:
        """The database that restores go to."""
        return self.database.on("restored")

    def reset(self, folder: str) -> None:
        """Give every measurement the same start: no old object, no old restore, nothing left to flush."""
        for place in self._places(folder) if folder else ():
            for found in list(place.list_objects()):
                place.remove(found.key)
        with self.database.connect() as connection:
            connection.execute("DROP DATABASE IF EXISTS restored WITH (FORCE)")
            connection.execute("CREATE DATABASE restored TEMPLATE template0")
            connection.execute("CHECKPOINT")
        os.sync()

    def object_bytes(self, folder: str) -> int:
        """Return the size of the dump stored in a folder."""
        return _dump_bytes(self.storage.store(folder))

    def check_copied(self, name: str, folder: str) -> None:
        """Raise BenchFailed unless a second place has all that the first one has."""
        first, *others = (_dump_bytes(place) for place in self._places(folder))
        if first not in others:
            raise BenchFailed(f"{name}: no second place has the {first} bytes")

    def _places(self, folder: str) -> list[ObjectStore | FolderStore]:
        return [self.storage.store(folder), self.second.store(folder), FolderStore.at(str(self.disk), folder)]

    def storage_seconds(self) -> float:
        """Return how much CPU time the storage servers have used so far."""
        times = [process.cpu_times() for process in children_of(None, "weed")]
        return float(sum(spent.user + spent.system for spent in times))

    def check_restored(self, name: str) -> None:
        """Raise BenchFailed unless all rows came back: a fast restore of half a database is not a result."""
        rows = count_rows(self.restored)
        if rows != self.rows:
            raise BenchFailed(f"{name}: restored {rows} of {self.rows} rows")


def _dump_bytes(place: ObjectStore | FolderStore) -> int:
    return sum(o.size_bytes for o in place.list_objects() if o.key.endswith((".sql.gz", ".sql.gz.age")))


@contextmanager
def running_stage(major: int | None, size_mb: int, say: Callable[[str], None]) -> Iterator[Stage]:
    """Run the servers while the context lasts, with a database of about `size_mb` of data."""
    client = choose_client(major)
    with (
        tempfile.TemporaryDirectory(prefix="pg-roundtrip-bench-") as home,
        running_storage() as storage,
        running_storage() as second,
        running_server(client, port=free_ports(1)[0], settings=_AS_IN_PRODUCTION) as server,
    ):
        say(f"PostgreSQL {client.version} and two SeaweedFS run")
        disk = Path(home) / "disk"
        disk.mkdir()
        with server.connect() as connection:
            connection.execute("CREATE DATABASE sample")
        database = server.on("sample")
        load_sample(database, size_mb, say)
        with database.connect() as connection:
            connection.execute("VACUUM")  # else the first dump would have to set the hint bits
        facts = database.inspect()
        yield Stage(database, facts, count_rows(database), match_client(facts.major), storage, second, disk, Path(home))


def choose_client(major: int | None) -> Client:
    """Choose the server version: the requested major, else the usual one, else the newest installed."""
    servers = {c.major: c for c in installed_clients() if c.has_server}
    if not servers:
        raise BenchFailed("no PostgreSQL server is installed; `make setup-dev` installs some")
    if major is not None and major not in servers:
        raise BenchFailed(f"PostgreSQL {major} is not installed; installed are: {sorted(servers)}")
    return servers[major or (USUAL_MAJOR if USUAL_MAJOR in servers else max(servers))]


def count_rows(database: Server) -> int:
    """Count the rows of all tables."""
    with database.connect(own_names=True) as connection:
        tables = [str(row[0]) for row in connection.query(_TABLES)]
        return sum(int(connection.query(f"SELECT count(*) FROM {table}")[0][0]) for table in tables)
