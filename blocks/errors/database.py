"""Errors from a PostgreSQL server or from the connection to it."""

from __future__ import annotations

from blocks.errors.base import PgRoundtripError


class DatabaseError(PgRoundtripError):
    """Base class for errors from a server or the connection to it; `sqlstate` is the server's code, if it gave one."""

    message = "The database reported an error"
    code = "PGR-DB-ERROR"
    cause = "database_error"
    sqlstate = ""


class DatabaseUnreachable(DatabaseError):
    """The server is unreachable, perhaps only for a moment."""

    message = "Cannot connect to database"
    code = "PGR-DB-UNREACHABLE"
    cause = "database_unreachable"
    hint = "check that the server runs and that the host and port in DATABASE_URL can be reached from here"
    transient = True


class DatabaseRefused(DatabaseError):
    """The server rejected the connection: a wrong password, or a database that does not exist."""

    message = "Cannot connect to database"
    code = "PGR-DB-REFUSED"
    cause = "database_unreachable"
    hint = "check user, password and database name in DATABASE_URL"


class PooledSessions(DatabaseError):
    """The pooler does not preserve sessions: dumps and drills need settings and locks to outlast a statement."""

    message = "The database is behind a pooler in transaction mode"
    code = "PGR-DB-POOLED"
    hint = "use the address of the server itself, or of a pool in session mode; poolers often have their own port or host name"


class DatabaseTimeout(DatabaseError):
    """The server did not answer in time."""

    message = "Connection timed out"
    code = "PGR-DB-TIMEOUT"
    cause = "timeout"
    hint = "check the network between here and the database server; the next interval tries again"
    transient = True


class CreateDatabaseDenied(DatabaseError):
    """The role cannot create databases, which drills and new restore targets need."""

    message = "permission denied to create database"
    code = "PGR-DB-CREATE-DENIED"
    cause = "create_database_denied"
    hint = (
        "run ALTER ROLE … CREATEDB for the role, or set VERIFY_DATABASE_URL to a server where it may create databases"
    )


class ClientMissing(DatabaseError):
    """No installed pg_dump can dump this server."""

    message = "pg_dump failed"
    code = "PGR-CLIENT-MISSING"
    cause = "dump_failed"


class ServerProgramsMissing(ClientMissing):
    """No installed server version can restore this backup."""

    message = "The throwaway server could not be created"
    code = "PGR-SANDBOX-PROGRAMS"
    cause = "sandbox_failed"


class SandboxFailed(DatabaseError):
    """The throwaway server of a drill could not be created, did not start, or died."""

    message = "The throwaway server could not be created"
    code = "PGR-SANDBOX-FAILED"
    cause = "sandbox_failed"


class NoFreeName(DatabaseError):
    """A hundred candidate names for a temporary database are all taken."""

    message = "No free name for a temp database"
    code = "PGR-DB-NO-FREE-NAME"
