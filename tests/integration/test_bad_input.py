"""Bad input gets the specified sentence, a hint and the exit status, and never a traceback."""

from __future__ import annotations

import errno
import socket
import sys
import threading
import time
from collections.abc import Callable, Iterator
from types import SimpleNamespace
from typing import Any

import pytest
from prefect.states import Failed
from pydantic import SecretStr

from blocks.errors import ClientMissing, StorageUnreachable
from blocks.s3.client import ObjectStore
from blocks.sql.server import Server
from blocks.sql.url import conninfo_url
from flows import cli
from flows.backup import backup as backup_flow
from flows.demo.services import free_ports
from flows.restore import restore as restore_flow
from flows.restore_drill import restore_drill
from tasks.engine.servers.programs import Client
from tests.conftest import Ended, FlowRun, NewDatabase

RUN = Callable[..., Ended]
VERBS = (["check"], ["backup"], ["list"], ["drill"], ["prune"], ["prune", "--dry-run"], ["restore", "latest"])
STORAGE = ("S3_ENDPOINT", "S3_BUCKET", "S3_ACCESS_KEY_ID", "S3_SECRET_ACCESS_KEY")


class Listener:
    """A loopback port that accepts and counts connections, to see whether anything connects."""

    def __init__(self) -> None:
        self._socket = socket.create_server(("127.0.0.1", 0))
        self.port = int(self._socket.getsockname()[1])
        self.visits = 0
        threading.Thread(target=self._count, daemon=True).start()

    def _count(self) -> None:
        while True:
            try:
                visitor, _ = self._socket.accept()
            except OSError:
                return
            self.visits += 1
            visitor.close()

    def close(self) -> None:
        self._socket.shutdown(socket.SHUT_RDWR)
        self._socket.close()


@pytest.fixture
def listener() -> Iterator[Listener]:
    made = Listener()
    yield made
    made.close()


def errors(ended: Ended) -> list[str]:
    """Return the error messages that a command wrote, without timestamps."""
    lines = ended.err.splitlines()
    said = [line.partition("ERROR: ")[2] for line in lines if "ERROR: " in line]
    return [line for line in said if not line.startswith("HINT: ")]


def assert_said(ended: Ended, status: int, *messages: str, hints: int = 1) -> None:
    """Check the status, the messages in order with nothing between, a hint for each, and no traceback."""
    assert ended.status == status, ended.err
    found = errors(ended)
    assert len(found) == len(messages), ended.err
    for message, expected in zip(found, messages, strict=True):
        assert message.startswith(expected)
    assert ended.err.count("HINT: ") == hints
    assert "Traceback" not in ended.out + ended.err


@pytest.fixture
def in_process(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Callable[..., Ended]:
    """A function that runs the command line in this process, for commands that end before any work starts."""
    monkeypatch.setattr("flows.cli.signal.signal", lambda *_: None)

    def call(*arguments: str, **environ: str) -> Ended:
        with monkeypatch.context() as patched:
            patched.setattr(sys, "argv", ["pg-roundtrip", *arguments])
            for name, value in environ.items():
                patched.setenv(name, value)
            with pytest.raises(SystemExit) as ended:
                cli.main()
        printed = capsys.readouterr()
        return Ended(int(ended.value.code or 0), printed.out, printed.err)

    return call


def test_a_fault_of_the_system_is_no_success(in_process: RUN, monkeypatch: pytest.MonkeyPatch) -> None:
    """A run that couldn't start a program has failed; it isn't mistaken for a success with unwritable output."""
    error = BlockingIOError(errno.EAGAIN, "Resource temporarily unavailable")
    monkeypatch.setattr("flows.backup.backup", lambda **_: Failed(data=error))
    given = {
        "DATABASE_URL": "postgresql://u@db/d",
        **dict.fromkeys(STORAGE, "backups"),
        "S3_ENDPOINT": "https://s3.example.com",
    }
    ended = in_process("backup", **given)
    assert ended.status == 1
    assert "ERROR: Something went wrong [[Errno 11] Resource temporarily unavailable]" in ended.err


def needed(verb: str) -> list[str]:
    """Return the variables that a command requires, in the order of the documentation."""
    database = ["DATABASE_URL"] if verb in ("check", "backup") else []
    target = ["RESTORE_DATABASE_URL"] if verb == "restore" else []
    return [*database, *target, *STORAGE]


@pytest.mark.parametrize("verb", VERBS, ids=" ".join)
def test_everything_that_is_missing_is_said_at_once(verb: list[str], in_process: RUN) -> None:
    """Every command reports every required variable that is missing, each with a hint, and exits with 2."""
    ended = in_process(*verb)
    expected = [f"Required environment variable {name} is not set" for name in needed(verb[0])]
    assert_said(ended, 2, *expected, hints=len(expected))
    assert ended.out == ""
    assert ended.err.partition("Z ")[2].startswith("ERROR: Required environment variable ")


def test_nothing_is_contacted_before_the_settings_are_right(listener: Listener, command_line: RUN) -> None:
    """All missing and malformed settings are reported at once with status 2, before anything is contacted."""
    here = f"127.0.0.1:{listener.port}"
    ended = command_line(
        "backup", DATABASE_URL=f"postgresql://u:hidden-word@{here}/d", S3_ENDPOINT=f"http://{here}", S3_BUCKET="",
        S3_SECRET_ACCESS_KEY="", COMPRESSION_LEVEL="10", BACKUP_RETENTION_DAYS="0", BACKUP_INTERVAL="soon",
        PREFECT_API_URL=f"http://{here}/api",
    )  # fmt: skip
    assert_said(
        ended,
        2,
        "Required environment variable S3_BUCKET is not set",
        "Required environment variable S3_SECRET_ACCESS_KEY is not set",
        "Invalid BACKUP_INTERVAL format",
        "Invalid COMPRESSION_LEVEL format",
        "Invalid BACKUP_RETENTION_DAYS format",
        hints=5,
    )
    assert "hidden-word" not in ended.out + ended.err
    assert listener.visits == 0


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("DATABASE_URL", "mysql://user:hidden-word@host/db"),
        ("DATABASE_URL", "postgresql://user:hidden-word@host:port/db"),
        ("DATABASE_URL", "postgresql://user:hidden-word@/db"),
        ("DATABASE_URL", "postgresql://user:hidden-word@host"),
        ("DATABASE_URL", "postgresql://user:hidden-word%zz@host/db"),
        ("DATABASE_URL", "postgresql://user:p@hidden-word@host/db"),
        ("DATABASE_URL", "postgresql://user:1/x?hidden-word@host/db"),
        ("DATABASE_URL", "host=localhost password=hidden-word"),
        ("VERIFY_DATABASE_URL", "hidden-word"),
        ("S3_ENDPOINT", "s3.amazonaws.com"),
        ("S3_ENDPOINT", "https://key:hidden-word@storage.example"),
        ("S3_ENDPOINT", "http://storage.example:port"),
        ("S3_BUCKET", "s3://bucket"),
        ("S3_BUCKET", "bucket/folder"),
        ("POSTGRES_PORT", "70000"),
        ("BACKUP_RETENTION_DAYS", "-1"),
        ("BACKUP_RETENTION_DAYS", "7 days"),
        ("BACKUP_INTERVAL", "1"),
        ("COMPRESSION_LEVEL", "0"),
        ("COMPRESSION_LEVEL", "six"),
        ("VERIFY_LATEST", "maybe"),
        ("VERIFY_BACKUP_FILE", "../backup_20240207_143022.sql.gz"),
    ],
)
def test_a_malformed_setting_is_named(name: str, value: str, in_process: RUN) -> None:
    """A malformed value is reported with the variable's name and the rule, status 2, and without the value."""
    sound = {
        "DATABASE_URL": "postgresql://u:p@127.0.0.1:1/d", "S3_ENDPOINT": "http://127.0.0.1:1", "S3_BUCKET": "bucket",
        "S3_ACCESS_KEY_ID": "id", "S3_SECRET_ACCESS_KEY": "secret",
    }  # fmt: skip
    ended = in_process("backup", **{**sound, name: value})
    assert_said(ended, 2, f"Invalid {name} format")
    assert "hidden-word" not in ended.out + ended.err


def test_the_older_names_are_asked_for_when_one_of_them_is_set(in_process: RUN) -> None:
    """POSTGRES_HOST alone is not enough; the missing variables that go with it are reported by name."""
    storage = {"S3_ENDPOINT": "http://127.0.0.1:1", "BUCKET_NAME": "b2", "S3_ACCESS_KEY_ID": "i",
               "S3_SECRET_ACCESS_KEY": "s"}  # fmt: skip
    expected = [f"Required environment variable POSTGRES_{name} is not set" for name in ("USER", "DB")]
    assert_said(in_process("backup", POSTGRES_HOST="localhost", **storage), 2, *expected, hints=2)


def test_a_drill_that_shall_not_take_the_newest_needs_a_name(in_process: RUN) -> None:
    """VERIFY_LATEST=false without VERIFY_BACKUP_FILE is a configuration error."""
    sound = dict.fromkeys(STORAGE, "x12") | {"S3_ENDPOINT": "http://127.0.0.1:1", "VERIFY_LATEST": "false"}
    ended = in_process("drill", DATABASE_URL="postgresql://u:p@127.0.0.1:1/d", **sound)
    assert_said(ended, 2, "Required environment variable VERIFY_BACKUP_FILE is not set")


@pytest.mark.parametrize(
    "arguments", [["backup", "--no-such-option"], ["no-such-verb"], ["restore"], ["drill", "a", "b"], ["backup", "x"]]
)
def test_wrong_usage_has_status_2(arguments: list[str], in_process: RUN) -> None:
    """An unknown option, verb or argument, or a missing one: status 2 and how to get help."""
    ended = in_process(*arguments)
    assert (ended.status, ended.out) == (2, "")
    assert "--help" in ended.err
    assert "Traceback" not in ended.err


def with_login(server: Server, **changes: str) -> Server:
    return Server(url=SecretStr(conninfo_url({**server.parameters(), **changes})))


def test_a_wrong_password(new_database: NewDatabase, command_line: RUN) -> None:
    """A wrong password is reported in the server's words without retries, whatever the database is called."""
    server = with_login(new_database(16, name="prod timeout"), password="hidden-word")
    ended = command_line("backup", server=server)
    assert_said(ended, 1, f"Cannot connect to database [{server.address}: password authentication failed")
    assert "HINT: check user, password and database name in DATABASE_URL" in ended.err
    assert "trying again" not in ended.err
    assert "hidden-word" not in ended.out + ended.err


def test_a_database_that_is_not_there(new_database: NewDatabase, command_line: RUN) -> None:
    """The missing database is named."""
    server = new_database(16).on("not here")
    ended = command_line("backup", server=server)
    assert_said(ended, 1, f'Cannot connect to database [{server.address}: database "not here" does not exist]')


@pytest.mark.parametrize(
    ("changes", "message", "hint"),
    [
        ({"S3_BUCKET": "not-here"}, "S3 upload failed [", "HINT: create the bucket, or correct S3_BUCKET"),
        ({"S3_ACCESS_KEY_ID": "nobody"}, "Access Denied [", "HINT: check S3_ACCESS_KEY_ID"),
    ],
    ids=["bucket", "key"],
)
def test_a_storage_that_does_not_take_the_backup(
    changes: dict[str, str], message: str, hint: str, new_database: NewDatabase, command_line: RUN
) -> None:
    """A missing bucket and wrong keys each have their own sentence and hint."""
    server = new_database(16, "CREATE TABLE t AS SELECT 1 AS a")
    ended = command_line("backup", "--json", server=server, **changes)
    assert_said(ended, 1, message)
    assert hint in ended.err
    assert ended.out == ""
    assert "hidden-word" not in ended.err


def test_a_storage_that_is_not_there(command_line: RUN) -> None:
    """A storage that refuses connections is reported once, with what to check."""
    ended = command_line("list", "--json", S3_ENDPOINT=f"http://127.0.0.1:{free_ports(1)[0]}")
    assert_said(ended, 1, "S3 request failed [")
    assert "HINT: check S3_ENDPOINT" in ended.err
    assert ended.out == ""


def test_each_flow_says_what_it_could_not_do(
    new_database: NewDatabase, flow_run: FlowRun, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without the storage, a backup reports a failed upload, and a drill and a restore a failed download."""
    # The client's backoff between attempts is not under test here.
    monkeypatch.setattr("botocore.endpoint.time", SimpleNamespace(sleep=lambda _: None, time=time.time))
    server, nowhere = new_database(16), {"S3_ENDPOINT": f"http://127.0.0.1:{free_ports(1)[0]}"}
    backed_up = flow_run(backup_flow, server, environ=nowhere)
    restored = flow_run(restore_flow, to=server, environ=nowhere, backup="latest")
    assert isinstance(backed_up.error, StorageUnreachable)
    assert isinstance(restored.error, StorageUnreachable)
    assert backed_up.error.message == "S3 upload failed"
    assert restored.error.message == "Failed to download backup from S3"
    drilled = flow_run(restore_drill, server, environ=nowhere)
    assert drilled.state == "INCONCLUSIVE"
    assert drilled.result.cause.startswith("Failed to download backup from S3 [")


def test_a_client_that_is_too_old(
    new_database: NewDatabase,
    flow_run: FlowRun,
    storage: ObjectStore,
    clients: dict[int, Client],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A client that is too old is reported first, with both versions and how to install the right one."""
    installed: Any = lambda: (clients[15],)  # noqa: E731
    monkeypatch.setattr("tasks.engine.servers.programs.installed_clients", installed)
    ran = flow_run(backup_flow, new_database(17))
    assert isinstance(ran.error, ClientMissing)
    assert ran.error.lines() == [
        f"ERROR: pg_dump failed [the server is version 17; the newest installed client is {clients[15].version}] (PGR-CLIENT-MISSING)",
        "HINT: install the client of version 17 or newer: apt-get install postgresql-client-17",
    ]
    assert (ran.error.exit_status, list(storage.list_objects())) == (1, [])
