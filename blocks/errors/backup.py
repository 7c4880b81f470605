"""What is wrong with a backup, or with making one."""

from __future__ import annotations

from blocks.errors.base import PgRoundtripError


class BackupError(PgRoundtripError):
    """Anything about the backup itself."""

    code = "PGR-BACKUP-ERROR"


class DumpFailed(BackupError):
    """pg_dump ended with an error; nothing was kept of its output."""

    message = "pg_dump failed"
    code = "PGR-DUMP-FAILED"
    cause = "dump_failed"
    hint = "the text in brackets is pg_dump's own; most often the role may not read some table"


class EmptyBackup(BackupError):
    """The backup holds nothing; `check` names the check of a drill that this fails."""

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
    """Nothing says which of several databases is meant."""

    message = "Several databases keep their backups in this folder"
    code = "PGR-SEVERAL-DATABASES"
    hint = "restore one by its name, or say with BACKUPS_OF which database is meant"


class VerificationFailed(BackupError):
    """A drill found the backup sound, and something about it not as it should be."""

    message = "Verification failed"
    code = "PGR-VERIFICATION-FAILED"
    cause = "verification_failed"
    hint = "the backup is what was dumped; look at what was dumped, and when"


class BackupDamaged(BackupError):
    """The backup is not what was stored; `check` names the check of a drill that this fails."""

    message = "Restore failed"
    code = "PGR-BACKUP-DAMAGED"
    cause = "restore_failed"
    hint = "this backup cannot be trusted; restore an older one, and drill the others"

    def __init__(self, context: str = "", *, check: str = "restored without error", hint: str | None = None) -> None:
        self.check = check
        super().__init__(context, hint=hint)
