"""A throwaway server, which runs code from the dumped database, can reach its own files and nothing else."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from tasks.engine.confinement import Confinement, holds
from tasks.engine.process import Child, User
from tasks.engine.servers.orphans import clear_after_server
from tests.conftest import Ended, NewDatabase

NOBODY = User(65534, 65534)


@pytest.fixture
def neighbour() -> Iterator[int]:
    """Another process of the same user, with a secret in its environment."""
    user: dict[str, Any] = {"user": NOBODY.uid, "group": NOBODY.gid} if os.geteuid() == 0 else {}
    process = subprocess.Popen(["/bin/sleep", "600"], env={"SECRET": "beagle"}, **user)
    yield process.pid
    assert process.poll() is None, "it was killed"
    process.kill()
    process.wait()


def tried(script: str, confinement: Confinement | None) -> str:
    """Return what a shell script prints."""
    user = NOBODY if os.geteuid() == 0 else None
    with Child(
        ["/bin/sh", "-c", script], {"PATH": "/usr/bin:/bin"}, read=True, user=user, confinement=confinement
    ) as child:
        printed = b""
        while part := os.read(child.output, 4096):
            printed += part
        child.wait()
    return printed.decode()


def test_the_system_confines_here() -> None:
    """The system supports confinement, so the other tests don't pass by accident."""
    assert holds() == ("files", "network")


def test_a_confined_program_keeps_to_its_folder(tmp_path_factory: pytest.TempPathFactory, neighbour: int) -> None:
    """A confined program can write only in its own folder, and can't read or kill other processes of its user."""
    own, other = (tmp_path_factory.mktemp(name) for name in ("own", "other"))
    for folder in (own, other, *own.parents[:-1]):
        folder.chmod(0o777 if folder in (own, other) else folder.stat().st_mode | 0o011)
    script = (
        f"echo own > {own}/file && cat {own}/file; echo x > {other}/file && echo wrote;"
        f"tr '\\0' ' ' < /proc/{neighbour}/environ; kill {neighbour} && echo killed; true"
    )
    assert tried(script, Confinement(writable=(own,))) == "own\n"
    assert "wrote" in tried(f"echo x > {other}/file && echo wrote", None)
    assert "SECRET=beagle" in tried(f"cat /proc/{neighbour}/environ", None)


def test_a_confined_program_has_no_network() -> None:
    """A confined program can create only local sockets."""
    script = (
        "perl -e 'use Socket; print socket(S, AF_INET, SOCK_STREAM, 0) ? qq(made) : qq(refused), q( ),"
        " socket(S, AF_UNIX, SOCK_STREAM, 0) ? qq(local) : qq(nothing)'"
    )
    assert tried(script, Confinement()) == "refused local"
    assert tried(script, None) == "made local"


def test_nothing_confined_stays_behind(tmp_path: Path) -> None:
    """A process that left its group and lost its parent still ends with the program that started it."""
    script = "setsid sh -c 'setsid sleep 97531 & sleep 97532' > /dev/null 2>&1 & echo begun; sleep 0.2"
    assert tried(script, Confinement()) == "begun\n"
    left = [p.info["cmdline"] for p in psutil.process_iter(["cmdline"])]
    assert not [command for command in left if command and command[-1] in ("97531", "97532")]


@pytest.mark.timeout(30)
@pytest.mark.parametrize("kind", ["fifo", "device", "link"])
def test_a_folder_that_was_tampered_with_is_swept(kind: str, tmp_path: Path) -> None:
    """Whatever replaces the server's own files can't block the sweep or make it read without end."""
    (tmp_path / "data").mkdir()
    place = tmp_path / "data" / "postmaster.pid"
    if kind == "fifo":
        os.mkfifo(place)
    else:
        place.symlink_to("/dev/zero" if kind == "device" else "/proc/kmsg")
    clear_after_server(tmp_path)


ESCAPE = """
CREATE TABLE t (id int PRIMARY KEY); INSERT INTO t VALUES (1);
CREATE TABLE found (what text);
CREATE FUNCTION escape() RETURNS text LANGUAGE plpgsql AS $f$
DECLARE said text := '';
BEGIN
  BEGIN COPY (SELECT 1) TO PROGRAM 'touch {file}'; said := said || 'program '; EXCEPTION WHEN OTHERS THEN NULL; END;
  BEGIN COPY (SELECT 1) TO '{file}'; said := said || 'file '; EXCEPTION WHEN OTHERS THEN NULL; END;
  BEGIN said := said || pg_read_file('/proc/{process}/environ'); EXCEPTION WHEN OTHERS THEN NULL; END;
  RETURN said;
END $f$;
CREATE MATERIALIZED VIEW escaped AS SELECT public.escape() AS said;
"""


def test_what_a_backup_runs_in_a_drill_stays_in_the_sandbox(
    new_database: NewDatabase,
    command_line: Callable[..., Ended],
    tmp_path_factory: pytest.TempPathFactory,
    neighbour: int,
) -> None:
    """A materialized view's function that writes files, starts programs or reads others' environments gets nowhere."""
    folder = tmp_path_factory.mktemp("escape")
    for part in (folder, *folder.parents[:-1]):
        part.chmod(part.stat().st_mode | 0o011)
    folder.chmod(0o777)
    file = folder / "pwned"
    source = new_database(15, ESCAPE.replace("{file}", str(file)).replace("{process}", str(neighbour)))
    file.unlink(missing_ok=True)  # the source's own server is able to write it
    assert command_line("backup", server=source).status == 0
    assert command_line("drill", server=source, VERIFY_TARGET="sandbox").status == 0
    assert not file.exists()
