"""Both failure tables of the specification, row by row: provoke each fault for real and read the process's console.

A row's message appears in the log word for word, with its level, preceded by the time and followed by what to do.
"""

from __future__ import annotations

import os
import re
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path

import pytest

from blocks.s3.client import ObjectStore
from blocks.sql.server import Server
from flows.demo.services import Storage, free_ports
from tasks.clock import utc_now
from tasks.engine.servers.programs import Client
from tests.conftest import Ended, NewDatabase, command_environment, databases_of
from tests.integration.objects import LIBRARY, asked, new_role, put_object, rewrite, take_backup, told, until

BACKUP = {
    "Missing environment variable": "ERROR: Required environment variable DATABASE_URL is not set",
    "Database unreachable": "ERROR: Cannot connect to database",
    "Invalid DATABASE_URL": "ERROR: Invalid DATABASE_URL format",
    "S3 unreachable": "ERROR: S3 upload failed",
    "S3 authentication failure": "ERROR: Access Denied",
    "Disk full": "ERROR: No space left on device",
    "pg_dump failure": "ERROR: pg_dump failed",
    "Backup file empty": "ERROR: Backup file is empty or does not exist",
    "Network timeout": "ERROR: Connection timed out",
}
VERIFY = {
    "No backups in S3": "ERROR: No backups found in S3",
    "Cannot create temp database": "ERROR: permission denied to create database",
    "Restore failure": "ERROR: Restore failed",
    "Verification query failure": "WARNING: Query failed: SELECT count(*) FROM bookz",
    "Temp database cleanup failure": "WARNING: Failed to cleanup temp database",
    "Download failure": "ERROR: Failed to download backup from S3",
    "Corrupted backup file": "ERROR: Backup file is empty or does not exist",
}
LINE = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ (ERROR|WARNING|INFO): \S.*")
OPERATIONS = Path(__file__).parents[2] / "docs" / "operations.md"

Run = Callable[..., "subprocess.Popen[str]"]


@pytest.fixture(params=["plain", "recorded"])
def started(
    request: pytest.FixtureRequest, storage_server: Storage, storage: ObjectStore, prefect_api: str, tmp_path: Path
) -> Iterator[Run]:
    """A function that starts `pg-roundtrip` with short waits, without a Prefect server and with one; `server` is its database."""
    processes = []
    prefect_api = prefect_api if request.param == "recorded" else ""

    def start(*arguments: str, server: Server | None = None, **environ: str) -> subprocess.Popen[str]:
        given = command_environment(storage_server, storage, prefect_api, tmp_path)
        if server:
            given["DATABASE_URL"] = server.url.get_secret_value()
        command = [sys.executable, "-m", "tests.integration.impatient", *arguments]
        pipe, root = subprocess.PIPE, Path(__file__).parents[2]
        processes.append(
            subprocess.Popen(command, env={**given, **environ}, cwd=root, stdout=pipe, stderr=pipe, text=True)
        )
        return processes[-1]

    yield start
    for process in processes:
        process.kill()
        process.communicate()


def ended(process: subprocess.Popen[str]) -> Ended:
    out, err = process.communicate(timeout=240)
    return Ended(process.returncode, out, err)


def assert_row(process: subprocess.Popen[str], message: str, status: int, context: str = "") -> None:
    """The message is logged once, alone or followed by its context, with no other warning or error."""
    done = ended(process)
    lines = done.err.splitlines()
    assert [line for line in lines if not LINE.fullmatch(line)] == []
    said = [line.partition(" ")[2] for line in lines if " INFO: " not in line and "; trying again" not in line]
    assert re.fullmatch(re.escape(message) + r"( \[.+\])?( \(PGR-[A-Z0-9-]+\))?", said[0]), done.err
    assert context in said[0]
    level = message.partition(":")[0]
    assert [line.startswith(f"{level}: HINT: ") for line in said[1:]] == [True] * len(said[1:]), done.err
    assert len(said) == (2 if level == "ERROR" else 1), done.err
    assert done.status == status, done.err
    assert "hidden-word" not in done.out + done.err


@pytest.fixture
def tables(new_database: NewDatabase) -> Server:
    """A database with tables."""
    return new_database(16, LIBRARY)


@pytest.fixture
def stored(tables: Server, storage: ObjectStore, clients: dict[int, Client]) -> Server:
    """The database with tables, with a backup in the storage."""
    take_backup(storage, tables, clients[16])
    return tables


@pytest.fixture
def silent() -> Iterator[int]:
    """A port that accepts and never answers."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        yield int(listener.getsockname()[1])


@pytest.fixture
def nowhere() -> str:
    """The address of a storage that doesn't exist."""
    return f"http://127.0.0.1:{free_ports(1)[0]}"


# --- the backup service -----------------------------------------------------------------------------------------------


def test_missing_environment_variable(started: Run) -> None:
    """The service exits at once, with status 2."""
    assert_row(started("backup"), BACKUP["Missing environment variable"], 2)


def test_database_unreachable(started: Run, storage: ObjectStore) -> None:
    """The connection is retried, then the error is reported once without secrets."""
    port = free_ports(1)[0]
    process = started("backup", DATABASE_URL=f"postgresql://u:hidden-word@127.0.0.1:{port}/d")
    assert_row(process, BACKUP["Database unreachable"], 1, f"[127.0.0.1:{port}/d: Connection refused]")
    assert list(storage.list_objects()) == []


def test_invalid_database_url(started: Run) -> None:
    """The service exits at once, with status 2, and doesn't echo the unreadable URL."""
    process = started("backup", DATABASE_URL="mysql://user:hidden-word@host/db")
    assert_row(process, BACKUP["Invalid DATABASE_URL"], 2)


def test_s3_unreachable(started: Run, tables: Server, nowhere: str) -> None:
    """A storage that refuses connections is reported."""
    assert_row(started("backup", server=tables, S3_ENDPOINT=nowhere), BACKUP["S3 unreachable"], 1)


def test_s3_authentication_failure(started: Run, tables: Server) -> None:
    """Keys that the storage refuses are reported without retries, which would not help."""
    process = started("backup", server=tables, S3_SECRET_ACCESS_KEY="hidden-word")
    assert_row(process, BACKUP["S3 authentication failure"], 1)


def test_disk_full(started: Run, new_database: NewDatabase, disk: Callable[[str], Path], storage: ObjectStore) -> None:
    """Parts of very large backups are buffered on disk; when it is full, the backup fails and cleans up its files."""
    script = "CREATE TABLE t AS SELECT n, md5(n::text) || md5('x' || n) AS v FROM generate_series(1, 60000) n"
    server, folder = new_database(16, script), disk("size=1m")
    # A sparse file makes the database look as large as it would have to be.
    ((data, number),) = asked(
        server, "SELECT current_setting('data_directory'), oid FROM pg_database WHERE datname = current_database()"
    )
    os.truncate(os.open(f"{data}/base/{number}/999999999", os.O_CREAT | os.O_WRONLY), 60 << 30)
    assert_row(started("backup", server=server, TMPDIR=str(folder)), BACKUP["Disk full"], 1, f"[{folder}]")
    assert list(folder.iterdir()) == []
    assert storage.list_uploads(timedelta(0), utc_now() + timedelta(days=1)) == []
    assert ended(started("backup", server=server, TMPDIR=str(folder.parent))).status == 0


def test_pg_dump_failure(started: Run, tables: Server, storage: ObjectStore) -> None:
    """If one table can't be read, pg_dump's own words are logged, and nothing is stored of the others."""
    told(tables, "CREATE TABLE closed (a int)", "GRANT SELECT ON authors TO PUBLIC")
    process = started("backup", server=new_role(tables))
    assert_row(process, BACKUP["pg_dump failure"], 1, "permission denied for table")
    assert list(storage.list_objects()) == []


def test_backup_file_empty(
    started: Run, tables: Server, storage: ObjectStore, clients: dict[int, Client], tmp_path: Path
) -> None:
    """A pg_dump that outputs nothing and exits with 0: nothing is uploaded."""
    (folder := tmp_path / "programs").mkdir()
    (folder / "pg_dump").write_text('#!/bin/sh\n[ "$1" != --version ] || echo "pg_dump (PostgreSQL) 16.99"\n')
    (folder / "pg_dump").chmod(0o755)
    process = started("backup", server=tables, PATH=f"{folder}:{os.environ['PATH']}", BACKUP_GLOBALS="false")
    assert_row(process, BACKUP["Backup file empty"], 1)
    assert list(storage.list_objects()) == []


@pytest.mark.parametrize("silence", ["database", "storage"])
def test_network_timeout(silence: str, started: Run, tables: Server, silent: int) -> None:
    """A database or a storage that accepts and never answers is reported as a timeout."""
    process = (
        started("backup", DATABASE_URL=f"postgresql://u:hidden-word@127.0.0.1:{silent}/d")
        if silence == "database"
        else started("backup", server=tables, S3_ENDPOINT=f"http://127.0.0.1:{silent}")
    )
    assert_row(process, BACKUP["Network timeout"], 1)


# --- the verify service -----------------------------------------------------------------------------------------------


def test_no_backups_in_s3(started: Run, tables: Server) -> None:
    """An empty bucket is reported: there is nothing to drill yet."""
    assert_row(started("drill", server=tables), VERIFY["No backups in S3"], 1)


def test_cannot_create_temp_database(started: Run, stored: Server) -> None:
    """The role can't create databases: that says nothing about the backup."""
    process = started("drill", server=new_role(stored), VERIFY_TARGET="database")
    assert_row(process, VERIFY["Cannot create temp database"], 3)


def test_restore_failure(started: Run, stored: Server, storage: ObjectStore) -> None:
    """A backup that the server refuses is bad."""
    missing = b"CREATE INDEX i ON public.nowhere USING btree (a);\n"
    rewrite(storage, lambda dump: dump.replace(b"CREATE VIEW", missing + b"CREATE VIEW"), forge=True)
    assert_row(started("drill", server=stored, VERIFY_TARGET="database"), VERIFY["Restore failure"], 1)


def test_verification_query_failure(started: Run, stored: Server, tmp_path: Path) -> None:
    """A failing query is warned about, and the drill continues."""
    queries = tmp_path / "test-queries.sql"
    queries.write_text("SELECT count(*) FROM bookz;\nSELECT count(*) FROM books;\n")
    process = started("drill", server=stored, VERIFY_TARGET="database", VERIFY_QUERIES_FILE=str(queries))
    assert_row(process, VERIFY["Verification query failure"], 0)


def test_temp_database_cleanup_failure(started: Run, stored: Server, tmp_path: Path) -> None:
    """A scratch database that lost its mark meanwhile is not dropped; the verdict stays."""
    queries = tmp_path / "test-queries.sql"
    queries.write_text("SELECT pg_sleep(4);\n")
    before = databases_of(stored)
    process = started("drill", server=stored, VERIFY_TARGET="database", VERIFY_QUERIES_FILE=str(queries))
    until(lambda: bool(databases_of(stored) - before) or process.poll() is not None)
    (scratch,) = databases_of(stored) - before
    told(stored, f"ALTER DATABASE {scratch} CONNECTION LIMIT -1")
    try:
        assert_row(process, VERIFY["Temp database cleanup failure"], 0, scratch)
        assert scratch in databases_of(stored)
    finally:
        told(stored, f"DROP DATABASE {scratch} WITH (FORCE)")


def test_download_failure(started: Run, stored: Server, nowhere: str) -> None:
    """S3_ENDPOINT refuses connections: that says nothing about the backup."""
    assert_row(started("drill", server=stored, S3_ENDPOINT=nowhere), VERIFY["Download failure"], 3)


def test_corrupted_backup_file(started: Run, stored: Server, storage: ObjectStore) -> None:
    """An empty object is not a backup."""
    put_object(storage, b"")
    assert_row(started("drill", server=stored), VERIFY["Corrupted backup file"], 1)


# --- the tables themselves --------------------------------------------------------------------------------------------


def test_every_row_has_its_test_and_is_explained() -> None:
    """Each row of both tables has a test of its name here, and a row with the message in docs/operations.md."""
    explained = OPERATIONS.read_text()
    for row, message in [*BACKUP.items(), *VERIFY.items()]:
        assert f"test_{re.sub('[^a-z0-9]+', '_', row.lower())}" in globals()
        assert f"| `{message.replace('SELECT count(*) FROM bookz', '<query>')}` |" in explained
