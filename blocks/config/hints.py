"""Say what to do about a variable: what it is for where it is missing, and its rule where it is malformed."""

from __future__ import annotations

from blocks.s3.providers import KEYS

# Of a saved block.
WHEN_INVALID = "correct it in the Prefect UI, or save it anew"

_PORT = "it must be a whole number from 1 to 65535"
_CRON = "it has five fields, for example 0 3 * * * for three o'clock every night; TZ sets the time zone"
_COUNT = "it must be a whole number, 1 or more; leave it unset to have no such rule"
_URL = "it looks like postgresql://user:password@host:5432/database; write special characters as %XX"
WHEN_MISSING = {
    "DATABASE_URL": "set it to postgresql://user:password@host:5432/database, or set POSTGRES_HOST and the others",
    "POSTGRES_USER": "POSTGRES_HOST is set, so this one is needed too",
    "POSTGRES_DB": "POSTGRES_HOST is set, so this one is needed too",
    "RESTORE_DATABASE_URL": "pass --to postgresql://user:password@host:5432/database, or set the variable",
    "S3_ENDPOINT": "set it to the storage's address, for example https://s3.amazonaws.com",
    "S3_BUCKET": "set it to the name of the bucket that keeps the backups",
    "S3_ACCESS_KEY_ID": "set it to the access key of the storage",
    "S3_SECRET_ACCESS_KEY": "set it to the secret that belongs to the access key",
    "VERIFY_BACKUP_FILE": "VERIFY_LATEST is false, so name the backup: backup_YYYYMMDD_HHMMSS.sql.gz",
}
WHEN_MALFORMED = {
    "DATABASE_URL": _URL,
    "VERIFY_DATABASE_URL": _URL,
    "RESTORE_DATABASE_URL": _URL,
    "POSTGRES_HOST": "give the name or address of the host alone, without a port and without brackets",
    "POSTGRES_PORT": _PORT,
    "S3_ENDPOINT": "it begins with https:// or http://, names a host and holds no keys",
    "S3_BUCKET": "give the bucket's name alone, without s3:// and without a path",
    "S3_PROVIDER": f"it must be one of {', '.join(KEYS)}",
    "BACKUP_PREFIX": "it looks like production/backups, without empty parts and without dots alone",
    "ALLOW_SHARED_PREFIX": "it must be true or false",
    "BACKUP_INTERVAL": "it must be a whole number of seconds, 60 or more",
    "VERIFY_INTERVAL": "it must be a whole number of seconds, 60 or more",
    "BACKUP_RETENTION_DAYS": "it must be a whole number of days, 1 or more",
    "BACKUP_KEEP_LAST": _COUNT,
    "BACKUP_KEEP_DAILY": _COUNT,
    "BACKUP_KEEP_WEEKLY": _COUNT,
    "BACKUP_KEEP_MONTHLY": _COUNT,
    "BACKUP_KEEP_YEARLY": _COUNT,
    "COMPRESSION_LEVEL": "it must be a whole number from 1 to 9",
    "VERIFY_LATEST": "it must be true or false",
    "VERIFY_BACKUP_FILE": "it looks like backup_20240207_143022.sql.gz",
    "VERIFY_TARGET": "it must be auto, database or sandbox",
    "VERIFY_MAX_AGE": "it must be a whole number of seconds, 60 or more",
    "VERIFY_TIMEOUT": "it must be a whole number of seconds, 60 or more",
    "VERIFY_QUERY_TIMEOUT": "it must be a whole number of seconds, 1 or more",
    "VERIFY_STRICT": "it must be true or false",
    "RESTORE_VERIFY": "it must be true or false",
    "BACKUP_SCHEDULE": _CRON,
    "VERIFY_SCHEDULE": _CRON,
    "TZ": "it must name a time zone, as Europe/Berlin or UTC do",
    "PORT": _PORT,
    "METRICS_PORT": _PORT,
    "METRICS_ENABLED": "it must be true or false",
    "UI_USERNAME": "it must not be empty and not hold a colon",
    "PREFECT_SERVER_ENCRYPTION_KEY": "it must be 32 bytes in URL-safe base64: 43 characters and an equals sign",
    "SERVE_FLOWS": "it names one or more of backup, prune, restore-drill and restore, with commas between them",
}
