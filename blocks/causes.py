"""Name the causes that failed runs are counted by, so that a metric has a few labels and not a thousand sentences."""

from __future__ import annotations

# By the sentence that a message says first, whichever class of error said it.
_CAUSES = {
    "Required environment variable": "configuration",
    "There is no plan named": "configuration",
    "There is no server named": "configuration",
    "The plan names no": "configuration",
    "Invalid ": "configuration",
    "Cannot connect to database": "database_unreachable",
    "The database reported an error": "database_error",
    "The database is behind a pooler in transaction mode": "database_error",
    "Connection timed out": "timeout",
    "permission denied to create database": "create_database_denied",
    "pg_dump failed": "dump_failed",
    "S3 upload failed": "s3_upload_failed",
    "S3 request failed": "s3_request_failed",
    "Failed to download backup from S3": "s3_download_failed",
    "Access Denied": "s3_access_denied",
    "Backup file is empty or does not exist": "backup_empty_or_missing",
    "No backups found in S3": "no_backups",
    "Restore failed": "restore_failed",
    "Restore refused": "restore_refused",
    "Verification failed": "verification_failed",
    "The drill took longer than VERIFY_TIMEOUT allows": "drill_timed_out",
    "The throwaway server": "sandbox_failed",
    "No free name for a temp database": "database_error",
    "No space left on device": "disk_full",
    "The service was restarted while this run": "killed",
    "Flow run process exited with non-zero status code": "killed",
    "The Prefect server did not start": "service",
    "Cannot listen on the port": "service",
    "Cannot reach the Prefect server": "service",
}
OTHER_CAUSE = "other"
CAUSES = frozenset({*_CAUSES.values(), OTHER_CAUSE})


def cause_of(message: str) -> str:
    """Map the message of a failed run back to a short label: one of CAUSES.

    What stands first counts, for a sentence's context and its hint may quote others.
    """
    found = [(message.index(sentence), label) for sentence, label in _CAUSES.items() if sentence in message]
    return min(found)[1] if found else OTHER_CAUSE
