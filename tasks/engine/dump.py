"""Run pg_dump as a source for the pipeline."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from blocks.errors import DatabaseUnreachable, DumpFailed, NoSpaceLeft
from blocks.postgres import PostgresServer
from blocks.settings import child_environment
from tasks.engine.clients import Client
from tasks.engine.process import Child

# A table locked by a migration that never ends must not hold the backup for ever.
_LOCK_WAIT_MS = 300_000
_CONNECTION_LOST = ("connection to server", "server closed the connection", "terminating connection", "SSL SYSCALL")


class DumpSource:
    """A running pg_dump: its output, and whether it came to a good end."""

    def __init__(self, child: Child) -> None:
        self._child = child

    @property
    def output(self) -> int:
        """The file descriptor that the SQL comes from."""
        return self._child.output

    def check_end(self) -> None:
        """Raise DumpFailed, or something more exact, unless pg_dump ended with exit code 0."""
        code = self._child.wait()
        if code == 0:
            return
        complaint = self._child.complaint() or f"exit code {code}"
        if "No space left on device" in complaint:
            raise NoSpaceLeft(complaint)
        if any(sign in complaint for sign in _CONNECTION_LOST):
            raise DatabaseUnreachable(f"pg_dump: {complaint}")
        raise DumpFailed(complaint)


@contextmanager
def running_dump(server: PostgresServer, client: Client, encoding: str | None = None) -> Iterator[DumpSource]:
    """Start pg_dump of a database; on leaving it is gone, whatever happened.

    The output is plain SQL with ownership and grants, in the database's own encoding unless `encoding` names one.
    """
    command = [client.program("pg_dump"), "--format=plain", "--no-password", f"--lock-wait-timeout={_LOCK_WAIT_MS}"]
    if encoding:
        command.append(f"--encoding={encoding}")
    with Child(command, child_environment(server.child_environment()), read=True) as child:
        yield DumpSource(child)
