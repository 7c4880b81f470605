"""Commands run on hosts as they are: odd users, homes, paths and limits. None of them costs a backup."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

from blocks.s3.client import ObjectStore
from blocks.sql.server import Server
from flows.demo.services import Storage
from tests.conftest import Ended, NewDatabase, command_environment
from tests.integration.objects import LIBRARY

NOBODY = 1_000_680_000  # such as OpenShift chooses; no passwd entry has it
# Root's right to read is kept only so that a Python below /root can be read.
AS_NOBODY = ("setpriv", f"--reuid={NOBODY}", "--regid=0", "--clear-groups", "--inh-caps", "+dac_read_search", "--ambient-caps", "+dac_read_search")  # fmt: skip
PROGRAM = str(Path(sys.prefix) / "bin" / "pg-roundtrip")

Command = Callable[..., Ended]


@pytest.fixture
def library(new_database: NewDatabase) -> Server:
    """A database with a few tables."""
    return new_database(16, LIBRARY)


@pytest.fixture
def command(storage_server: Storage, storage: ObjectStore, library: Server, tmp_path: Path, home: Path) -> Command:
    """A function that runs a command behind a prefix, with variables changed or (None) removed."""

    def run(*arguments: str, prefix: tuple[str, ...] = (), **changed: str | None) -> Ended:
        given: Mapping[str, str | None] = {
            **command_environment(storage_server, storage, "", tmp_path),
            "DATABASE_URL": library.url.get_secret_value(), "VERIFY_TARGET": "sandbox", "TMPDIR": str(home), **changed,
        }  # fmt: skip
        environ = {name: value for name, value in given.items() if value is not None}
        done = subprocess.run([*prefix, PROGRAM, *arguments], env=environ, cwd="/", capture_output=True, text=True, timeout=120, check=False)  # fmt: skip
        return Ended(done.returncode, done.stdout, done.stderr)

    return run


def test_a_user_without_a_name(command: Command, home: Path) -> None:
    """A user id that /etc/passwd doesn't know backs up and drills in a sandbox, without a home."""
    home.chmod(0o777)
    for arguments in (("backup",), ("drill",), ("prune",), ("list",)):
        ended = command(*arguments, prefix=AS_NOBODY, HOME=None)
        assert ended.status == 0, ended.err
        assert "Traceback" not in ended.err
        assert len(ended.err.splitlines()) < 12


@pytest.mark.parametrize("home_dir", [None, "/", "/nonexistent", "/proc"])
def test_homes(home_dir: str | None, command: Command) -> None:
    """No home, or one that can't be written, makes no difference and no noise."""
    ended = command("backup", prefix=AS_NOBODY, HOME=home_dir)
    assert ended.status == 0, ended.err
    assert [line for line in ended.err.splitlines() if " INFO: " not in line] == []


@pytest.mark.parametrize("prefix", [
    ("sh", "-c", 'umask 0777 && exec "$@"', "sh"), ("sh", "-c", 'umask 0 && exec "$@"', "sh"), ("prlimit", "--nofile=256:256"), ("prlimit", "--core=0", "--stack=1048576"),
    ("unshare", "--mount", "sh", "-c", 'mount -t tmpfs -o ro tmpfs /dev/shm && exec "$@"', "sh"),
], ids=["umask 0777", "umask 0", "descriptors", "stack", "no shared memory"])  # fmt: skip
def test_limits(prefix: tuple[str, ...], command: Command) -> None:
    """File modes, limits and a missing /dev/shm are the host's business."""
    for arguments in (("backup",), ("drill",)):
        ended = command(*arguments, prefix=prefix)
        assert ended.status == 0, ended.err


def test_a_read_only_root(command: Command, home: Path) -> None:
    """Nothing is written but temporary files, and by a backup not even those."""
    inside = f'mount -o remount,bind,ro / && mount --bind {home} {home} && mount -o remount,bind,rw {home} && exec "$@"'
    for arguments in (("backup",), ("drill",)):
        ended = command(*arguments, prefix=("unshare", "--mount", "sh", "-c", inside, "sh"))
        assert ended.status == 0, ended.err


def test_another_projects_packages(command: Command, tmp_path: Path) -> None:
    """A `flows` that PYTHONPATH or the working directory has isn't taken for ours."""
    for name in ("flows", "tasks", "blocks"):
        (tmp_path / "theirs" / name).mkdir(parents=True)
        (tmp_path / "theirs" / name / "__init__.py").write_text("raise SystemExit('theirs')\n")
    ended = command("backup", PYTHONPATH=f"{tmp_path / 'theirs'}{os.pathsep}/nonexistent")
    assert ended.status == 0, ended.err


def test_a_profile_of_another_tool(command: Command, tmp_path: Path) -> None:
    """Profiles and configuration files of the AWS command line don't matter, whatever they say."""
    (tmp_path / "config").write_text(
        "[profile other]\nregion = nowhere\nendpoint_url = http://127.0.0.1:1\n[default]\ns3 =\n  addressing_style = virtual\n"
    )
    (tmp_path / "credentials").write_text("[default]\naws_access_key_id = wrong\naws_secret_access_key = wrong\n")
    files = {"AWS_CONFIG_FILE": str(tmp_path / "config"), "AWS_SHARED_CREDENTIALS_FILE": str(tmp_path / "credentials")}
    for profile in ("nosuch", "other", "default"):
        ended = command("backup", AWS_PROFILE=profile, AWS_DEFAULT_PROFILE=profile, **files)
        assert ended.status == 0, ended.err


def test_variables_of_libpq(command: Command) -> None:
    """They affect neither pg_dump nor our own sessions: what the URL says counts."""
    ended = command(
        "backup",
        PGHOST="/nonexistent",
        PGSSLMODE="verify-full",
        PGOPTIONS="-c nonsense=1",
        PGTZ="Mars/Phobos",
        PGCLIENTENCODING="SJIS",
    )
    assert ended.status == 0, ended.err


def test_an_endpoint_with_the_bucket_in_it(command: Command, storage: ObjectStore) -> None:
    """It is refused, because backups would go where nothing looks for them."""
    for arguments in (("backup",), ("list",), ("check",)):
        ended = command(*arguments, S3_ENDPOINT=f"{storage.endpoint}/{storage.bucket}")
        assert (ended.status, f"ERROR: S3_ENDPOINT ends in the bucket's name {storage.bucket}" in ended.err) == (
            2,
            True,
        )
    assert list(storage.list_objects()) == []


def test_a_bucket_that_does_not_exist(command: Command) -> None:
    """It is named, with the endpoint."""
    ended = command("list", S3_BUCKET="no-such-bucket")
    assert ended.status == 1
    assert "no-such-bucket" in ended.err


def test_a_target_that_cannot_be_reached(command: Command) -> None:
    """The hint names where the address of the target came from."""
    assert command("backup").status == 0
    ended = command("restore", "latest", "--to", "postgresql://nobody:x@127.0.0.1:1/none", RETRIES=None)
    assert ended.status == 1
    assert "--to or RESTORE_DATABASE_URL" in ended.err
