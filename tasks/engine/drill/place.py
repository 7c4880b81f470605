"""Choose where a drill restores to, and keep that place available while the drill runs."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Literal

from blocks.config.plan import Plan
from blocks.errors import BackupDamaged, EmptyBackup, ServerProgramsMissing
from blocks.sql.server import Server
from tasks.engine.dump.summary import DumpSummary
from tasks.engine.repository.catalog import Backup
from tasks.engine.repository.manifest import Manifest
from tasks.engine.repository.repository import Repository
from tasks.engine.restore.cluster_objects import ClusterObjects
from tasks.engine.restore.header import major_in, read_header
from tasks.engine.servers.data_directory import PristineData, pristine_data
from tasks.engine.servers.programs import Client, installed_clients, major_of, match_client, nearest
from tasks.engine.servers.sandbox import running_server, sweep_servers
from tasks.engine.servers.sandbox_settings import settings_for
from tasks.engine.servers.scratch import sweep_scratch_databases


@dataclass(frozen=True)
class Place:
    """Where a drill restores to: an existing database server, or a sandbox started from a client's server programs."""

    kind: Literal["database", "sandbox"]
    server: Server | None = None
    client: Client | None = None
    pristine: PristineData | None = field(default=None, repr=False)

    def __str__(self) -> str:
        return (
            self.server.address
            if self.server
            else f"a throwaway server, PostgreSQL {self.client.version if self.client else ''}"
        )


@dataclass(frozen=True)
class ProvisionedPlace:
    """A place that is ready: the server, its programs, and the function that creates what a dump expects outside it."""

    server: Server
    client: Client
    version: str
    prepare: Callable[[DumpSummary], None] | None = field(default=None, repr=False)


def choose_place(plan: Plan, major: int, clients: Iterable[Client] | None = None) -> Place:
    """Choose the place for a backup of a major version (0 if unknown).

    `auto` means the server that the plan names for drills, else a sandbox if server programs are installed, else the
    database's own server. Raises ServerProgramsMissing when a sandbox is required but cannot be started,
    ConfigurationError when no server is configured either.
    """
    if plan.drill.target == "database" or (plan.drill.target == "auto" and plan.drill.server):
        return Place("database", server=plan.drill_server)
    fitting = _server_programs(installed_clients() if clients is None else clients, major)
    if fitting:
        return Place("sandbox", client=fitting)
    if plan.drill.target == "auto" and plan.server:
        return Place("database", server=plan.source)
    raise ServerProgramsMissing(
        f"no server programs of PostgreSQL{f' {major} or newer' if major else ''} are installed",
        hint=f"apt-get install postgresql-{major or 18}, or set VERIFY_DATABASE_URL to a server for drills",
    )


def _server_programs(clients: Iterable[Client], major: int) -> Client | None:
    """Return the server programs of the wanted version, else the next newer; the newest if the version is unknown."""
    servers = [c for c in clients if c.has_server]
    return nearest(servers, major or max((c.major for c in servers), default=0))


def version_of(repository: Repository, backup: Backup) -> int:
    """Return the major version that a backup's server must have: pg_dump's, which can be newer than the source's.

    0 if the backup does not say; if it is damaged, reading it will report that later.
    """
    try:
        manifest = repository.outline(backup)
        if manifest:
            majors = [major_of(v) for v in (manifest.server_version, manifest.client_version)]
            return max(majors) if all(majors) else 0
        return major_in(read_header(repository, backup))
    except (BackupDamaged, EmptyBackup):
        return 0


@contextmanager
def for_two_servers(place: Place, backup: Backup) -> Iterator[Place]:
    """Let the servers of a drill in a sandbox share what initdb makes, if the backup has roles and settings."""
    if place.server or not backup.globals_bytes:
        yield place
        return
    with pristine_data() as pristine:
        yield replace(place, pristine=pristine)


@contextmanager
def provision(place: Place, manifest: Manifest | None, database: str) -> Iterator[ProvisionedPlace]:
    """Provide a place for a backup; a sandbox is configured for it and for `database`, and ends with the context."""
    if place.server:
        facts = place.server.inspect()
        yield ProvisionedPlace(place.server, match_client(facts.major), facts.version)
        return
    assert place.client
    settings = settings_for(place.client, manifest, database)
    with (
        running_server(place.client, settings=settings, pristine=place.pristine) as server,
        server.connect() as connection,
    ):
        surroundings = ClusterObjects(connection, manifest.role_attributes if manifest else ())
        yield ProvisionedPlace(server, place.client, server.inspect().version, surroundings.prepare)


def sweep(place: Place) -> list[str]:
    """Remove what killed drills left behind; return the names of databases and folders."""
    return sweep_scratch_databases(place.server) if place.server else sweep_servers()
