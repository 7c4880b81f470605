"""Errors about a backup or about taking one."""

from __future__ import annotations

from blocks.errors.base import PgRoundtripError


class BackupError(PgRoundtripError):
    """Base class for errors about the backup itself."""

    code = "PGR-BACKUP-ERROR"


class DumpFailed(BackupError):
    """pg_dump exited with an error; its output was discarded."""

    message = "pg_dump failed"
    code = "PGR-DUMP-FAILED"
    cause = "dump_failed"
    hint = "the text in brackets is pg_dump's own; most often the role is not allowed to read some table"


class GlobalsUnreadable(BackupError):
    """Roles and the database's own settings could not be read; the dump itself is not affected."""

    message = "Roles and settings could not be read"
    code = "PGR-GLOBALS-UNREADABLE"
    cause = "dump_failed"
    hint = "the text in brackets is the program's own; BACKUP_GLOBALS=false makes backups without them"


class EmptyBackup(BackupError):
    """The backup is empty; `check` names the drill check that this fails."""

    message = "Backup file is empty or does not exist"
    code = "PGR-BACKUP-EMPTY"
    cause = "backup_empty_or_missing"
    hint = "take a new backup, and find out what wrote this one"

    def __init__(self, context: str = "", *, check: str = "object present", hint: str | None = None) -> None:
        self.check = check
        super().__init__(context, hint=hint)


class NoBackups(BackupError):
    """There is nothing to drill, list or restore."""

    message = "No backups found in S3"
    code = "PGR-NO-BACKUPS"
    cause = "no_backups"
    hint = "run pg-roundtrip backup first, or check S3_BUCKET and BACKUP_PREFIX"


class SeveralDatabases(BackupError):
    """It is unclear which of several databases is meant."""

    message = "Several databases keep their backups in this folder"
    code = "PGR-SEVERAL-DATABASES"
    hint = "restore one by name, or set BACKUPS_OF to the database that you mean"


class SetIncomplete(BackupError):
    """Some databases of a server have no backup from a run, or were not restored; the others have, and were.

    `facts` is what scripts get of all of them.
    """

    message = "Not all databases are done"
    code = "PGR-SET-INCOMPLETE"
    cause = "set_incomplete"
    hint = "the others are done; the log says of each database what is wrong"

    def __init__(
        self, context: str = "", *, message: str | None = None, hint: str | None = None, facts: object = None
    ) -> None:
        self.facts = facts
        super().__init__(context, message=message, hint=hint)


class CopiesMissing(BackupError):
    """Some place lacks backups that another place has, and they could not be copied.

    `facts` is what scripts get of those that were.
    """

    message = "Not all places have all backups"
    code = "PGR-COPIES-MISSING"
    cause = "copies_missing"
    hint = "the log says of each place what is wrong; the next run goes on from there"

    def __init__(
        self, context: str = "", *, message: str | None = None, hint: str | None = None, facts: object = None
    ) -> None:
        self.facts = facts
        super().__init__(context, message=message, hint=hint)


class VerificationFailed(BackupError):
    """A drill found the backup intact, but something about it is wrong."""

    message = "Verification failed"
    code = "PGR-VERIFICATION-FAILED"
    cause = "verification_failed"
    hint = "the backup matches what was dumped; check what was dumped, and when"


class BackupDamaged(BackupError):
    """The backup is not what was stored; `check` names the drill check that this fails."""

    message = "Restore failed"
    code = "PGR-BACKUP-DAMAGED"
    cause = "restore_failed"
    hint = "this backup cannot be trusted; restore an older one, and drill the others"

    def __init__(self, context: str = "", *, check: str = "restored without error", hint: str | None = None) -> None:
        self.check = check
        super().__init__(context, hint=hint)
