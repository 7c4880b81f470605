"""Make backups without Prefect, damage them, and inspect the contents of databases."""

from __future__ import annotations

import gzip
import hashlib
import itertools
import time
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any

from pydantic import SecretStr

from blocks.disk.folder_store import FolderStore
from blocks.sql.server import Server
from blocks.sql.url import conninfo_url
from blocks.stores import Storage as Place
from tasks.clock import utc_now
from tasks.engine.drill.round_trip import contents_of
from tasks.engine.dump.pg_dump import running_dump
from tasks.engine.dump.roles import read_roles
from tasks.engine.dump.scanner import DumpScanner
from tasks.engine.dump.schema_parts import title_of
from tasks.engine.dump.selection import arguments, read_selection
from tasks.engine.dump.source_settings import read_settings
from tasks.engine.repository import names
from tasks.engine.repository.manifest import Manifest, read_manifest
from tasks.engine.repository.upload import Upload
from tasks.engine.servers.programs import Client
from tasks.engine.stream.pipeline import scan_dump, stream_dump
from tasks.engine.stream.record import Source, manifest_of_dump
from tests.plans import plan_of

NAME = "backup_20240207_143022"
LIBRARY = """
CREATE TABLE authors (id int PRIMARY KEY, name text NOT NULL);
CREATE TABLE books (id int PRIMARY KEY, author int REFERENCES authors, title text);
INSERT INTO authors SELECT n, 'author ' || n FROM generate_series(1, 20) n;
INSERT INTO books SELECT n, n % 20 + 1, md5(n::text) FROM generate_series(1, 300) n;
CREATE VIEW titles AS SELECT name, title FROM authors JOIN books ON author = authors.id;
CREATE SEQUENCE numbers START 7;
"""
LARGE_OBJECTS = """
SELECT lo_from_bytea(4711, decode(repeat('00ff275c', 5000), 'hex'));
SELECT lo_from_bytea(4712, 'short');
CREATE TABLE points_to_large_objects (content oid);
INSERT INTO points_to_large_objects VALUES (4711), (4712);
"""
_numbers = itertools.count(1)


def take_backup(
    storage: Place,
    server: Server,
    client: Client,
    name: str = NAME,
    level: int = 1,
    selection: Mapping[str, str] = MappingProxyType({}),
) -> Manifest:
    """Back up a database, or what a plan with these fields selects, using the engine only."""
    started, facts = utc_now(), server.inspect()
    plan = plan_of(storage, server, compression_level=level, **selection)
    with server.connect(own_names=True) as connection:
        chosen = read_selection(connection, plan.dump.selection, client.major)
    with running_dump(server, client, options=arguments(chosen, plan.dump.selection.options)) as dump:
        result = stream_dump(dump, Upload(storage, storage.key(name + names.OBJECT), facts.size_bytes), level)
    with server.connect() as connection:
        extensions: dict[str, str] = dict(connection.query("SELECT extname, extversion FROM pg_extension"))
        roles, settings = read_roles(connection), read_settings(connection)
    source = Source(facts, client, extensions, roles, settings=settings, chosen=chosen)
    manifest = manifest_of_dump(plan, source, name, started, utc_now(), result)
    put_manifest(storage, manifest)
    return manifest


def manifest_of(storage: Place, name: str = NAME) -> Manifest:
    """Return a backup's manifest."""
    return read_manifest(storage.get(storage.key(name + names.MANIFEST)), name)


def put_manifest(storage: Place, manifest: Manifest, beside: str = "") -> None:
    """Store a manifest for its backup, or for another."""
    storage.put(storage.key((beside or manifest.name) + names.MANIFEST), manifest.encode())


def without_manifest(storage: Place, name: str = NAME) -> None:
    """Make a backup a foreign one: without a manifest, and without our mark on its object."""
    put_object(storage, object_of(storage, name), name)
    storage.remove(storage.key(name + names.MANIFEST))


def object_of(storage: Place, name: str = NAME) -> bytes:
    """Return a backup's object."""
    return storage.get(storage.key(name + names.OBJECT))


def put_object(storage: Place, data: bytes, name: str = NAME) -> None:
    """Replace a backup's object, as another tool would, and leave its manifest unchanged."""
    key = storage.key(name + names.OBJECT)
    if isinstance(storage, FolderStore):
        (storage.root / key).write_bytes(data)
    else:
        storage.client.put_object(Bucket=storage.bucket, Key=key, Body=data)


def put_forged(storage: Place, data: bytes, manifest: Manifest) -> None:
    """Replace a backup's object, and make the size and SHA-256 in its manifest match."""
    put_object(storage, data, manifest.name)
    facts = {"object_bytes": len(data), "sha256": hashlib.sha256(data).hexdigest()}
    put_manifest(storage, manifest.model_copy(update=facts))


def rewrite(storage: Place, edit: Callable[[bytes], bytes], *, forge: bool, name: str = NAME) -> None:
    """Edit a backup's SQL and recompress it; `forge` makes the size and SHA-256 in the manifest match."""
    before = gzip.decompress(object_of(storage, name))
    after = edit(before)
    assert after != before
    data = gzip.compress(after, 1)
    if forge:
        put_forged(storage, data, manifest_of(storage, name))
    else:
        put_object(storage, data, name)


def inserted(statement: str) -> Callable[[bytes], bytes]:
    """Return an edit that inserts a statement before the completion comment: after the data, indexes and rights."""
    mark = b"--\n-- PostgreSQL database dump complete"
    return lambda dump: dump.replace(mark, statement.encode() + b"\n\n" + mark)


def copied(storage: Place, new: str, name: str = NAME) -> None:
    """Copy a backup to another name, as if it had been taken then."""
    put_object(storage, object_of(storage, name), new)
    put_manifest(storage, manifest_of(storage, name).model_copy(update={"name": new}))


def contents(server: Server, client: Client, like: Server | None = None) -> tuple[Any, ...]:
    """Return what a database holds: rows and digests of its tables, titles of its schema, sequences and large objects.

    Columns are digested in the order they have in `like`.
    """
    orders = {}
    if like:
        with running_dump(like, client) as dump:
            orders = {t.name: t.columns for t in scan_dump(dump, DumpScanner()).tables.values()}
    with running_dump(server, client) as dump:
        seen = scan_dump(dump, DumpScanner(orders, keep_schema=True))
    assert not seen.problem
    return contents_of(seen), sorted(map(title_of, seen.schema_kept.values())), seen.sequences


def new_role(server: Server, options: str = "") -> Server:
    """Create a role that can log in, and return its login to the same database."""
    role = f"role_{next(_numbers)}"
    with server.connect() as connection:
        connection.execute(f"CREATE ROLE {{}} LOGIN PASSWORD 'secret' {options}", role)
    return Server(url=SecretStr(conninfo_url({**server.parameters(), "user": role, "password": "secret"})))


def role_of(server: Server) -> str:
    """Return the role of a login."""
    return server.parameters()["user"]


def asked(server: Server, statement: str, *values: Any) -> list[tuple[Any, ...]]:
    """Return the result of a query."""
    with server.connect(own_names=True) as connection:
        return connection.query(statement, *values)


def told(server: Server, *statements: str) -> None:
    """Run statements, each in its own transaction."""
    with server.connect(own_names=True) as connection:
        for statement in statements:
            connection.execute(statement.replace("{", "{{").replace("}", "}}"))


def until(ready: Callable[[], bool]) -> None:
    """Wait for something that must happen; the limit exists only so that a failing test ends."""
    deadline = time.monotonic() + 60
    while not ready():
        assert time.monotonic() < deadline
        time.sleep(0.05)
