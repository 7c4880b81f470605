"""Run pg_dump as a source for the pipeline."""

from __future__ import annotations

import re
import signal
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager

from blocks.config.environment import child_environment
from blocks.errors import DatabaseUnreachable, DrillTimedOut, DumpFailed, NoSpaceLeft, RestoreError
from blocks.sql.connection import Connection
from blocks.sql.server import SAFE_OPTION, Server
from tasks.engine.dump.selection import encoded, waits_by_itself
from tasks.engine.dump.source_settings import as_options, settable
from tasks.engine.dump.text_settings import forced_for_dump
from tasks.engine.dump.warnings import bounded, warnings_in
from tasks.engine.process import Child
from tasks.engine.servers.programs import Client

# A table locked by a migration that never ends must not block the backup forever.
_LOCK_WAIT = "300s"
# Errors that a retry gets past: the database was changed while pg_dump was reading it.
_IN_PASSING = re.compile(
    r'relation ".*" does not exist|with OID \d+ does not exist|cache lookup failed|could not open relation'
    r"|deadlock detected|tuple concurrently|conflict with recovery"
)
_LOCKED = re.compile(r"canceling statement due to (?:statement|lock) timeout")
SCHEMA_ONLY = "--schema-only"
_DIRECT = "use the address of the server itself"
# libpq has many messages for a server that is gone: a timeout differs from a reset, and TLS has its own.
_CONNECTION_LOST = re.compile(
    "connection to (?:the )?server|server closed the connection|terminating connection"
    "|could not (?:receive data from|send data to) server|SSL (?:SYSCALL|error|connection has been closed)"
)


class DumpSource:
    """A running pg_dump: its output, and whether it ended well."""

    def __init__(self, child: Child, lock_wait: str = "") -> None:
        self._child = child
        self._lock_wait = lock_wait

    @property
    def output(self) -> int:
        """The file descriptor that the SQL comes from."""
        return self._child.output

    @property
    def warnings(self) -> tuple[str, ...]:
        """pg_dump's warnings; complete only once it has ended."""
        lines, unseen = self._child.everything_said()
        return bounded(warnings_in(lines), unseen)

    def check_end(self) -> None:
        """Raise DumpFailed, or something more specific, unless pg_dump ended with exit code 0."""
        code = self._child.wait()
        if code == 0:
            return
        if self._child.timed_out:
            raise DrillTimedOut
        complaint = self._child.error_summary() or f"exit code {code}"
        if "No space left on device" in complaint:
            raise NoSpaceLeft(complaint)
        if _CONNECTION_LOST.search(complaint):
            raise DatabaseUnreachable(complaint)
        if _LOCKED.search(complaint):
            hint = "another session holds a lock on a table, most often a migration: see pg_locks and pg_stat_activity"
            raise DumpFailed(f"{complaint}, after {self._lock_wait}", hint=hint, transient=True)
        if _IN_PASSING.search(complaint):
            hint = "a table was dropped or changed while the dump began; try again"
            raise DumpFailed(complaint, hint=hint, transient=True)
        if code < 0:
            # Most often the system ran out of memory and killed this process; the next attempt may fare better.
            killed = f"pg_dump was killed by {signal.Signals(-code).name}"
            raise DumpFailed(killed, hint="check the system log; it may have run out of memory", transient=True)
        raise DumpFailed(complaint)


def _session_options(connection: Connection, *, monetary: bool, settings: Mapping[str, str]) -> str:
    """Return the libpq options that undo what a role or database has set and pg_dump does not reset itself.

    Raises RestoreError if `settings` are needed but a pooler accepts no options.
    """
    forced = forced_for_dump(connection, monetary=monetary)
    safe = [SAFE_OPTION] if connection.takes_options else []
    wanted = settable(connection, settings)
    if wanted and not safe:
        names = ", ".join(wanted)
        raise RestoreError(f"values are printed under {names}, and a pooler accepts no session settings", hint=_DIRECT)
    return " ".join([*safe, *(f"-c {name}={value}" for name, value in forced.items()), as_options(wanted)]).strip()


@contextmanager
def running_dump(
    server: Server,
    client: Client,
    encoding: str | None = None,
    timeout_s: float | None = None,
    *,
    monetary: bool = True,
    settings: Mapping[str, str] | None = None,
    options: Sequence[str] = (),
) -> Iterator[DumpSource]:
    """Run pg_dump while the context lasts; on leaving it is gone, whatever happened.

    The output is plain SQL with ownership and grants, in the database's own encoding unless `encoding` names one. With
    `timeout_s` it is killed when it takes longer than that. Money is written under MONETARY or, without `monetary`, as
    the database shows it. `settings` are those under which extensions print their values. `options` are more of pg_dump's:
    those of a selection, or SCHEMA_ONLY, without rows, sequence values and large objects.
    """
    command = [client.program("pg_dump"), "--format=plain", "--no-password", *server.child_options()]
    command += [] if waits_by_itself(options) else [f"--lock-wait-timeout={_LOCK_WAIT}"]
    environ = server.child_environment()
    with server.connect() as connection:
        forced_here = _session_options(connection, monetary=monetary, settings=settings or {})
        # Always named: a role or database can set another one for its sessions.
        encoding = encoding or connection.server_encoding
        command += [f"--encoding={encoding}", *encoded(connection, options, encoding)]
    if forced := " ".join(filter(None, (environ.get("PGOPTIONS", ""), forced_here))):
        environ["PGOPTIONS"] = forced
    with Child(command, child_environment(environ), read=True) as child:
        if timeout_s is not None:
            child.limit(timeout_s)
        yield DumpSource(child, next(o.rpartition("=")[2] for o in command if o.startswith("--lock-wait-timeout=")))
