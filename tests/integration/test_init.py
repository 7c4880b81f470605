"""`init` leads from a database and a bucket to a file `.env` and a PROVEN backup, and never to half of that."""

from __future__ import annotations

import os
import pty
import re
import select
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from dotenv import dotenv_values

from blocks.s3.client import ObjectStore
from flows.demo.services import Storage
from tests.conftest import Ended, NewDatabase, command_environment

TABLE = "CREATE TABLE orders AS SELECT n, md5(n::text) AS note FROM generate_series(1, 500) AS n"
_PATIENCE_S = 120


class Terminal:
    """A command on a terminal of its own: what it shows, and what is typed."""

    def __init__(self, descriptor: int, pid: int) -> None:
        self.descriptor, self.pid, self.shown, self._seen = descriptor, pid, "", 0

    def answer(self, question: str, typed: str) -> None:
        """Wait for a question that was not answered yet, and type the answer."""
        # What is typed before getpass has turned the echo off would be lost; then it shows the last blank.
        while self.shown.find(question, self._seen) < 0 or not self.shown.endswith(": "):
            assert self._read(), f"{question!r} was not asked:\n{self.shown}"
        self._seen = len(self.shown)
        os.write(self.descriptor, typed.encode() + b"\n")

    def end(self) -> int:
        """Wait until the command ends; returns its exit status."""
        while self._read():
            pass
        return os.waitstatus_to_exitcode(os.waitpid(self.pid, 0)[1])

    def _read(self) -> bool:
        if not select.select([self.descriptor], [], [], _PATIENCE_S)[0]:
            return False
        try:
            part = os.read(self.descriptor, 65536)
        except OSError:  # its other end is closed
            return False
        self.shown += part.decode(errors="replace").replace("\r\n", "\n")
        return bool(part)


@contextmanager
def on_a_terminal(environ: dict[str, str], folder: Path, *arguments: str) -> Iterator[Terminal]:
    program = str(Path(sys.prefix) / "bin" / "pg-roundtrip")
    pid, descriptor = pty.fork()
    if not pid:
        os.chdir(folder)
        os.execve(program, [program, "init", *arguments], environ)  # noqa: S606  (not through a shell)
    terminal = Terminal(descriptor, pid)
    try:
        yield terminal
    finally:
        os.close(descriptor)
        try:
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)
        except (ProcessLookupError, ChildProcessError):
            pass


@pytest.fixture
def bare(storage_server: Storage, storage: ObjectStore, tmp_path: Path) -> dict[str, str]:
    """An environment that says nothing of a database or a storage."""
    given = command_environment(storage_server, storage, "", tmp_path)
    return {name: value for name, value in given.items() if not name.startswith(("S3_", "BACKUP_"))} | {"TERM": "dumb"}


def sourced(path: Path) -> dict[str, str]:
    """What a shell reads in the file."""
    done = subprocess.run(
        ["/bin/sh", "-c", 'set -a; . "$1"; exec env -0', "sh", str(path)], env={}, capture_output=True, check=True
    )
    pairs = (entry.split("=", 1) for entry in done.stdout.decode().split("\0") if entry)
    return {name: value for name, value in pairs if name not in ("PWD", "SHLVL", "_", "OLDPWD")}


def test_a_newcomer_types_the_answers(
    new_database: NewDatabase, storage_server: Storage, storage: ObjectStore, bare: dict[str, str], tmp_path: Path
) -> None:
    """A wrong answer is asked again, no secret is shown, and it ends with a file for its owner alone and a PROVEN backup."""
    url = new_database(17, TABLE).url.get_secret_value()
    with on_a_terminal(bare, tmp_path) as terminal:
        terminal.answer("DATABASE_URL", "mysql://me:tiger@nowhere/shop")
        terminal.answer("DATABASE_URL", url)
        terminal.answer("S3_ENDPOINT", "not an address")
        terminal.answer("S3_ENDPOINT", storage_server.endpoint)
        terminal.answer("S3_BUCKET", storage_server.bucket)
        terminal.answer("S3_ACCESS_KEY_ID", storage_server.key_id)
        terminal.answer("S3_SECRET_ACCESS_KEY", storage_server.secret)
        terminal.answer(
            "BACKUP_PREFIX", f"{storage.folder}/alone"
        )  # the last sentence is about the folders beside, too
        terminal.answer("Use this schedule and retention?", "n")
        terminal.answer("BACKUP_INTERVAL", "10")
        terminal.answer("BACKUP_INTERVAL", "7200")
        terminal.answer("VERIFY_INTERVAL", "")
        terminal.answer("BACKUP_RETENTION_DAYS", "3")
        terminal.answer("Use this schedule and retention?", "")
        assert terminal.end() == 0, terminal.shown
    shown = terminal.shown
    assert "Invalid DATABASE_URL format" in shown
    assert "Invalid S3_ENDPOINT format" in shown
    assert "HINT: it must be a whole number of seconds, 60 or more" in shown
    for secret in ("tiger", url, storage_server.secret):
        assert secret not in shown
    assert "every 2 hours" in shown
    assert re.search(r"^Fine: last backup .*PROVEN", shown, re.MULTILINE), shown
    file = tmp_path / ".env"
    assert file.stat().st_mode & 0o777 == 0o600
    assert sourced(file) == dotenv_values(file)
    assert sourced(file)["DATABASE_URL"] == url
    assert sourced(file)["BACKUP_INTERVAL"] == "7200"
    assert [*tmp_path.glob(".env*")] == [file]


def test_everything_from_the_environment(
    new_database: NewDatabase, command_line: Callable[..., Ended], tmp_path: Path, storage: ObjectStore
) -> None:
    """Without a terminal nothing is asked; the file then works by itself, whatever a password contains."""
    file = tmp_path / "settings.env"
    server = new_database(16, TABLE)
    password = 'p@ss "word" $HOME #1 \\ %41'
    with server.connect() as connection:
        connection.execute("DROP ROLE IF EXISTS newcomer")
        connection.execute("CREATE ROLE newcomer LOGIN SUPERUSER PASSWORD {password}", password=password)
    there = server.parameters()
    given = {
        "HOST": there["host"],
        "PORT": there["port"],
        "DB": there["dbname"],
        "USER": "newcomer",
        "PASSWORD": password,
    }
    login = {f"POSTGRES_{name}": value for name, value in given.items()}
    try:
        done = command_line("init", "--file", str(file), BACKUP_SCHEDULE="0 3 * * *", **login)
    finally:
        with server.connect() as connection:
            connection.execute("DROP ROLE newcomer")
    assert done.status == 0, done.out + done.err
    assert "POSTGRES_PASSWORD: from the environment" in done.out
    assert password not in done.out + done.err
    assert "PROVEN" in done.out
    written = sourced(file)
    assert written == dotenv_values(file)
    assert {name: value for name, value in written.items() if name.startswith("POSTGRES_")} == login
    assert written["BACKUP_SCHEDULE"] == "0 3 * * *"
    assert "BACKUP_INTERVAL" not in written
    again = dict.fromkeys(("S3_ENDPOINT", "S3_BUCKET", "S3_ACCESS_KEY_ID", "S3_SECRET_ACCESS_KEY", "BACKUP_PREFIX"), "")
    listed = command_line("list", **{**again, **written})
    assert listed.status == 0, listed.err
    assert "PROVEN" in listed.out


def test_a_question_that_is_left_leaves_nothing(bare: dict[str, str], tmp_path: Path) -> None:
    """Ctrl-C at a question ends the command, and no file is written."""
    with on_a_terminal(bare, tmp_path) as terminal:
        terminal.answer("DATABASE_URL", "postgresql://me:tiger@127.0.0.1:1/shop")
        terminal.answer("S3_ENDPOINT", "\x03")
        assert terminal.end() == 1
    assert "Traceback" not in terminal.shown
    assert [*tmp_path.glob("*env*")] == []


def test_answers_that_do_not_work_are_corrected(
    new_database: NewDatabase, storage_server: Storage, storage: ObjectStore, bare: dict[str, str], tmp_path: Path
) -> None:
    """What `check` finds can be corrected without typing the rest again; without that, nothing is written."""
    given = {**bare, **storage_server.environment(), "BACKUP_PREFIX": str(storage.folder)}
    del given["S3_BUCKET"]
    right = new_database(16).url.get_secret_value()
    with on_a_terminal(given, tmp_path, "--no-backup") as terminal:
        terminal.answer("DATABASE_URL", "postgresql://me:tiger@127.0.0.1:1/shop")
        terminal.answer("S3_BUCKET", storage_server.bucket)
        terminal.answer("Correct the answers?", "")
        terminal.answer("DATABASE_URL", right)
        terminal.answer("S3_BUCKET", "")
        terminal.answer("Use this schedule and retention?", "")
        assert terminal.end() == 0, terminal.shown
    assert "S3_SECRET_ACCESS_KEY: from the environment" in terminal.shown
    assert sourced(tmp_path / ".env")["S3_BUCKET"] == storage_server.bucket
    assert "tiger" not in terminal.shown
    assert list(storage.list_objects()) == []


def test_without_a_terminal_nothing_is_guessed(command_line: Callable[..., Ended], tmp_path: Path) -> None:
    """What is missing is listed at once, what doesn't work is an error, what exists stays; no file is written for any."""
    file = tmp_path / ".env"
    done = command_line("init", "--file", str(file), S3_BUCKET="")
    assert done.status == 2
    assert "DATABASE_URL is not set" in done.err
    assert "S3_BUCKET is not set" in done.err
    done = command_line("init", "--file", str(file), DATABASE_URL="postgresql://me:tiger@127.0.0.1:1/shop")
    assert done.status == 1
    assert "ERROR" in done.out
    assert "tiger" not in done.out + done.err
    assert not file.exists()
    file.write_text("KEPT=1\n")
    done = command_line("init", "--file", str(file), DATABASE_URL="postgresql://me:tiger@127.0.0.1:1/shop")
    assert done.status == 2
    assert "exists already" in done.err
    assert file.read_text() == "KEPT=1\n"


def test_a_file_without_secrets_in_a_repository(
    new_database: NewDatabase, command_line: Callable[..., Ended], tmp_path: Path
) -> None:
    """Secrets stay out if told so, a value that no file can hold included; a file that git would commit is warned of."""
    file = tmp_path / ".env"
    subprocess.run(["git", "init", "--quiet", str(tmp_path)], check=True)
    file.write_text("KEPT=1\n")
    server = new_database(16)
    done = command_line(
        "init",
        "--file",
        str(file),
        "--force",
        "--no-secrets",
        "--no-backup",
        server=server,
        VERIFY_QUERIES_FILE="",
        TZ="UTC",
    )
    assert done.status == 0, done.out + done.err
    assert "Not in it: DATABASE_URL, S3_SECRET_ACCESS_KEY" in done.out
    assert "git does not ignore it" in done.err
    assert not {"DATABASE_URL", "S3_SECRET_ACCESS_KEY"} & set(sourced(file))
    assert (tmp_path / ".env.old").read_text() == "KEPT=1\n"
    (tmp_path / ".gitignore").write_text(".env*\n")
    done = command_line("init", "--file", str(file), "--force", "--no-backup", server=server)
    assert "git does not ignore" not in done.err


def test_a_value_that_no_file_can_hold(command_line: Callable[..., Ended], tmp_path: Path) -> None:
    """It is refused before anything is contacted, without being shown."""
    done = command_line(
        "init",
        "--file",
        str(tmp_path / ".env"),
        DATABASE_URL="postgresql://me@127.0.0.1:1/shop",
        S3_SECRET_ACCESS_KEY="it's ${odd}",
    )
    assert done.status == 2
    assert "S3_SECRET_ACCESS_KEY cannot be written" in done.err
    assert "odd" not in done.err
