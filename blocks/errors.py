"""One family of errors, so that every fault reaches a user as one clear sentence and what to do next.

    PgRoundtripError
     |__ ConfigurationError       several faults at once; exit status 2
     |__ DatabaseError
     |    |__ DatabaseUnreachable (transient)
     |    |__ DatabaseRefused
     |    |__ PooledSessions
     |    |__ DatabaseTimeout     (transient)
     |    |__ CreateDatabaseDenied
     |    |__ ClientMissing
     |__ StorageError
     |    |__ StorageUnreachable  (transient)
     |    |__ StorageTimeout      (transient)
     |    |__ StorageDenied
     |    |__ BucketMissing
     |    |__ ObjectMissing
     |__ BackupError
     |    |__ DumpFailed
     |    |__ EmptyBackup
     |    |__ NoBackups
     |    |__ BackupDamaged
     |__ RestoreError
     |    |__ StatementRefused
     |    |__ RestoreFailed
     |    |__ TargetNotEmpty
     |    |__ DrillTimedOut
     |__ ServiceError
     |    |__ PortTaken
     |    |__ PrefectUnreachable
     |__ NoSpaceLeft

The wording of the messages is the product specification's.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass


class PgRoundtripError(Exception):
    """Carry what happened, what to do about it, and whether trying again may help.

    `message` is the sentence; `context` narrows it down and is printed in brackets; `hint` says what to do.
    None of the three may hold a secret: they are logged, shown in the Prefect UI and kept in reports.
    """

    message = "Something went wrong"
    hint = ""
    transient = False
    exit_status = 1

    def __init__(
        self,
        context: str = "",
        *,
        message: str | None = None,
        hint: str | None = None,
        transient: bool | None = None,
    ) -> None:
        self.context = context
        self.logged = False  # whether a run's log has it already
        if message is not None:
            self.message = message
        if hint is not None:
            self.hint = hint
        if transient is not None:
            self.transient = transient
        super().__init__(self.sentence)

    @property
    def sentence(self) -> str:
        """The message with its context, on one line and without the hint."""
        context = " ".join(self.context.split())
        return f"{self.message} [{context}]" if context else self.message

    def lines(self) -> list[str]:
        """The error as a user reads it: `ERROR: …`, then `HINT: …` when there is one."""
        return [f"ERROR: {self.sentence}"] + ([f"HINT: {self.hint}"] if self.hint else [])


@dataclass(frozen=True)
class Fault:
    """One thing that is wrong with the configuration."""

    message: str
    hint: str = ""


class ConfigurationError(PgRoundtripError):
    """Report every fault of the configuration together, so that one round of mending is enough."""

    message = "The configuration is not usable"
    exit_status = 2

    def __init__(self, faults: Sequence[Fault]) -> None:
        self.faults = tuple(faults)
        super().__init__(message="; ".join(f.message for f in self.faults))

    def lines(self) -> list[str]:
        """Every fault with its hint, in the order of the documentation."""
        return [
            line
            for fault in self.faults
            for line in (f"ERROR: {fault.message}", f"HINT: {fault.hint}" if fault.hint else "")
            if line
        ]


class DatabaseError(PgRoundtripError):
    """Anything the PostgreSQL server, or the way to it, does not let us do; `sqlstate` is the server's code where it gave one."""

    message = "The database reported an error"
    sqlstate = ""


class DatabaseUnreachable(DatabaseError):
    """The server cannot be reached now; it may be in a minute."""

    message = "Cannot connect to database"
    hint = "check that the server runs and that the host and port in DATABASE_URL can be reached from here"
    transient = True


class DatabaseRefused(DatabaseError):
    """The server answered and said no: a wrong password or a database that is not there."""

    message = "Cannot connect to database"
    hint = "check user, password and database name in DATABASE_URL"


class PooledSessions(DatabaseError):
    """What is set in a session, and its locks, must last from one statement to the next: dumps and drills build on both."""

    message = "The database is behind a pooler in transaction mode"
    hint = "use the address of the server itself, or of a pool in session mode; poolers often have a port or a host name of their own"


class DatabaseTimeout(DatabaseError):
    """The server did not answer in time."""

    message = "Connection timed out"
    hint = "check the network between here and the database server; the next interval tries again"
    transient = True


class CreateDatabaseDenied(DatabaseError):
    """The role may not create databases, which drills and new restore targets need."""

    message = "permission denied to create database"
    hint = (
        "run ALTER ROLE … CREATEDB for the role, or set VERIFY_DATABASE_URL to a server where it may create databases"
    )


class ClientMissing(DatabaseError):
    """No installed pg_dump can read this server."""

    message = "pg_dump failed"


class StorageError(PgRoundtripError):
    """Anything the object storage does not let us do."""

    message = "S3 request failed"


class StorageUnreachable(StorageError):
    """The storage cannot be reached or is overloaded; it may answer in a minute."""

    message = "S3 request failed"
    hint = "check S3_ENDPOINT and the network; the next interval tries again"
    transient = True


class StorageTimeout(StorageError):
    """The storage did not answer in time."""

    message = "Connection timed out"
    hint = "check S3_ENDPOINT and the network; the next interval tries again"
    transient = True


class StorageDenied(StorageError):
    """The keys are wrong, or do not allow this."""

    message = "Access Denied"
    hint = "check S3_ACCESS_KEY_ID, S3_SECRET_ACCESS_KEY and what they allow on the bucket (read, write, list, delete)"


class BucketMissing(StorageError):
    """There is no such bucket."""

    message = "S3 request failed"
    hint = "create the bucket, or correct S3_BUCKET and S3_REGION"


class ObjectMissing(StorageError):
    """There is no such object."""

    message = "Backup file is empty or does not exist"
    hint = "run pg-roundtrip list to see the backups there are"


class BackupError(PgRoundtripError):
    """Anything about the backup itself."""


class DumpFailed(BackupError):
    """pg_dump ended with an error; nothing was kept of its output."""

    message = "pg_dump failed"
    hint = "the text in brackets is pg_dump's own; most often the role may not read some table"


class EmptyBackup(BackupError):
    """The backup holds nothing; `check` names the check of a drill that this fails."""

    message = "Backup file is empty or does not exist"
    hint = "take a new backup, and find out what wrote this one"

    def __init__(self, context: str = "", *, check: str = "object present", hint: str | None = None) -> None:
        self.check = check
        super().__init__(context, hint=hint)


class NoBackups(BackupError):
    """There is nothing to drill, list or restore."""

    message = "No backups found in S3"
    hint = "run pg-roundtrip backup first, or check S3_BUCKET and BACKUP_PREFIX"


class BackupDamaged(BackupError):
    """The backup is not what was stored; `check` names the check of a drill that this fails."""

    message = "Restore failed"
    hint = "this backup cannot be trusted; restore an older one, and drill the others"

    def __init__(self, context: str = "", *, check: str = "restored without error", hint: str | None = None) -> None:
        self.check = check
        super().__init__(context, hint=hint)


class RestoreError(PgRoundtripError):
    """Anything that keeps a sound backup from being restored."""

    message = "Restore failed"


class StatementRefused(RestoreError):
    """A backup holds what no dump of one database has, or it came so; nothing of it is carried out."""

    message = "Restore failed"
    hint = "pg_dump writes no such thing for one database; read it, and restore it by hand"


class RestoreFailed(RestoreError):
    """psql could not carry out the dump; `sqlstate` is the server's code where it gave one, `place` is where in the dump."""

    message = "Restore failed"
    hint = "the text in brackets is the server's own"

    def __init__(self, context: str = "", *, sqlstate: str = "", place: str = "", hint: str | None = None) -> None:
        self.sqlstate = sqlstate
        # Apart from the context, by whose words verdicts are found: names in a place could be those words.
        self.place = " ".join(place.split())
        super().__init__(context, hint=hint)

    @property
    def sentence(self) -> str:
        """The server's sentence, and where it happened."""
        return f"{super().sentence} in {self.place}" if self.place else super().sentence


class TargetNotEmpty(RestoreError):
    """The target database has tables, and nobody said that they may go."""

    message = "Restore refused: the target database has tables"
    hint = "restore into another database, or pass --replace to have everything in this one replaced"


class DrillTimedOut(RestoreError):
    """A drill is not to occupy a server for ever."""

    message = "The drill took longer than VERIFY_TIMEOUT allows"
    hint = "raise VERIFY_TIMEOUT; VERIFY_TARGET=sandbox is faster than a server that others use"


class ServiceError(PgRoundtripError):
    """Anything that keeps the long-running service from starting."""

    message = "The Prefect server did not start"
    hint = "its own words are in the log above"


class PortTaken(ServiceError):
    """The service cannot listen where it is told to."""

    message = "Cannot listen on the port"
    hint = "set PORT or METRICS_PORT to a port that nobody else uses"


class PrefectUnreachable(ServiceError):
    """The Prefect server that PREFECT_API_URL names does not answer."""

    message = "Cannot reach the Prefect server"
    hint = "check PREFECT_API_URL, and PREFECT_API_AUTH_STRING or PREFECT_API_KEY for one with a login"


class NoSpaceLeft(PgRoundtripError):
    """A disk is full."""

    message = "No space left on device"
    hint = "free some space, then run it again"
