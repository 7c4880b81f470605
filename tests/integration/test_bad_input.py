"""What a user does wrong is answered with one clear sentence and a hint, and never with a traceback."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.conftest import Ended, NewDatabase

NOTHING = {"S3_ENDPOINT": "", "S3_BUCKET": "", "S3_ACCESS_KEY_ID": "", "S3_SECRET_ACCESS_KEY": "", "BACKUP_PREFIX": ""}
CLOSED = "http://127.0.0.1:1"


def plain(ended: Ended, status: int, *sentences: str) -> None:
    """Check a foreseen fault's exit status and words, and that nothing else was printed about it."""
    assert ended.status == status, ended.err
    for sentence in sentences:
        assert sentence in ended.err, ended.err
    assert "HINT: " in ended.err
    assert "Traceback" not in ended.err + ended.out
    assert "Encountered exception" not in ended.err


def test_every_missing_setting_is_named_at_once(command_line: Callable[..., Ended]) -> None:
    """One round of mending is enough: all faults come together, with exit status 2."""
    ended = command_line("backup", **NOTHING, PREFECT_API_URL=CLOSED)
    names = ("DATABASE_URL", "S3_ENDPOINT", "S3_BUCKET", "S3_ACCESS_KEY_ID", "S3_SECRET_ACCESS_KEY")
    plain(ended, 2, *(f"ERROR: Required environment variable {name} is not set" for name in names))
    assert ended.err.count("ERROR: ") == 5


def test_every_malformed_setting_is_named_at_once_and_nothing_is_contacted(command_line: Callable[..., Ended]) -> None:
    """Malformed and missing settings are reported together, before Prefect, server or bucket are asked."""
    ended = command_line(
        "backup", DATABASE_URL="mysql://root:hunter2@h/db", S3_ENDPOINT="s3.example.com", S3_BUCKET="s3://x/y",
        COMPRESSION_LEVEL="11", BACKUP_RETENTION_DAYS="0", BACKUP_INTERVAL="hourly", VERIFY_LATEST="perhaps",
        S3_ACCESS_KEY_ID="", VERIFY_BACKUP_FILE="newest", PREFECT_API_URL=CLOSED,
    )  # fmt: skip
    names = ("DATABASE_URL", "S3_ENDPOINT", "S3_BUCKET", "COMPRESSION_LEVEL", "BACKUP_RETENTION_DAYS", "BACKUP_INTERVAL",
             "VERIFY_LATEST", "VERIFY_BACKUP_FILE")  # fmt: skip
    missing = "ERROR: Required environment variable S3_ACCESS_KEY_ID is not set"
    plain(ended, 2, missing, *(f"ERROR: Invalid {name} format" for name in names))
    assert "hunter2" not in ended.err


@pytest.mark.parametrize("arguments", [("backup", "--no-such-option"), ("restore",), ("fly",), ("drill", "a", "b")])
def test_wrong_usage_ends_with_2(arguments: tuple[str, ...], command_line: Callable[..., Ended]) -> None:
    """A command that cannot be understood is told apart from one that failed."""
    ended = command_line(*arguments)
    assert ended.status == 2
    assert "Usage: pg-roundtrip" in ended.err
    assert "Traceback" not in ended.err


def test_an_unreachable_server_is_tried_again_and_then_said(command_line: Callable[..., Ended]) -> None:
    """The specification's words, with where it was tried."""
    ended = command_line("backup", DATABASE_URL="postgresql://u:hunter2@127.0.0.1:1/db")
    plain(ended, 1, "ERROR: Cannot connect to database [127.0.0.1:1/db: Connection refused]", "; trying again")
    assert "hunter2" not in ended.err


def test_a_wrong_password_and_a_missing_database_are_not_tried_again(
    command_line: Callable[..., Ended], new_database: NewDatabase
) -> None:
    """A permanent fault is said once."""
    server = new_database(16)
    url = server.url.get_secret_value()
    wrong = url.replace(server.parameters()["password"], "hunter2")
    ended = command_line("backup", DATABASE_URL=wrong)
    plain(ended, 1, "ERROR: Cannot connect to database", 'password authentication failed for user "postgres"')
    ended = command_line("backup", DATABASE_URL=server.on("no such database").url.get_secret_value())
    plain(ended, 1, 'database "no such database" does not exist')
    assert "trying again" not in ended.err


def test_storage_faults_are_said_in_the_specifications_words(
    command_line: Callable[..., Ended], new_database: NewDatabase
) -> None:
    """A missing bucket, wrong keys and a closed port are told apart."""
    server = new_database(16)
    plain(command_line("backup", server=server, S3_BUCKET="nowhere"), 1, "the bucket does not exist")
    plain(command_line("backup", server=server, S3_SECRET_ACCESS_KEY="hunter2"), 1, "ERROR: Access Denied")
    plain(command_line("prune", S3_ACCESS_KEY_ID="somebody"), 1, "ERROR: Access Denied")
    plain(command_line("list", S3_ENDPOINT=CLOSED), 1, "ERROR: S3 request failed")


def test_a_drill_and_a_restore_without_backups_say_so(
    command_line: Callable[..., Ended], new_database: NewDatabase
) -> None:
    """An empty folder is no verdict."""
    server = new_database(16)
    plain(command_line("drill", server=server), 1, "ERROR: No backups found in S3")
    to = server.url.get_secret_value()
    plain(command_line("restore", "latest", "--to", to), 1, "ERROR: No backups found in S3")
