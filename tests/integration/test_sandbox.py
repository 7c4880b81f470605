"""A throwaway server is private, leaves nothing however it ends, and a sweep touches only what is ours."""

from __future__ import annotations

import contextlib
import os
import signal
import stat
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest
from pydantic import SecretStr

from blocks.config.environment import child_environment
from blocks.errors import DatabaseError, DatabaseRefused, DatabaseUnreachable
from blocks.s3.client import ObjectStore
from blocks.sql.server import Server
from blocks.sql.url import conninfo_url
from flows.demo.services import free_ports
from flows.restore_drill import restore_drill
from tasks.engine import folder_lock
from tasks.engine.drill.place import Place
from tasks.engine.drill.query_file import read_queries
from tasks.engine.process import Child
from tasks.engine.servers.data_directory import pristine_data
from tasks.engine.servers.programs import Client
from tasks.engine.servers.sandbox import running_server, sweep_servers
from tasks.engine.servers.sandbox_dir import own_folder, sweep_folders
from tests.conftest import MAJORS, Ended, FlowRun, NewDatabase, StartedCommand
from tests.integration.objects import LARGE_OBJECTS, LIBRARY, asked, inserted, rewrite, take_backup, told, until
from tests.integration.sandboxes import (
    FOREVER,
    assert_nothing_is_left,
    folders,
    postmasters,
    processes,
    rehearsed,
    restoring,
    results,
    segments_of,
)
from tests.processes import ended, name_of

pytestmark = pytest.mark.usefixtures("unguarded")

Clients = dict[int, Client]


@pytest.fixture
def sleeping(new_database: NewDatabase, storage: ObjectStore, clients: Clients) -> Server:
    """A database, and a backup of it whose restore sleeps after the data."""
    source = new_database(15, LIBRARY)
    take_backup(storage, source, clients[15])
    rewrite(storage, inserted(FOREVER), forge=True)
    return source


# --- private ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("major", MAJORS)
def test_a_throwaway_server_is_private(major: int, clients: Clients, home: Path) -> None:
    """The server listens only on a private socket, doesn't run as root, skips fsync, and is gone afterwards."""
    with running_server(clients[major]) as server:
        (folder,), (pid,) = folders(home), postmasters(home)
        postmaster = psutil.Process(pid)
        names = ("listen_addresses", "fsync", "wal_level", "dynamic_shared_memory_type", "unix_socket_directories")
        values = [asked(server, "SELECT current_setting(%s)", name)[0][0] for name in names]
        assert values == ["", "off", "minimal", "mmap", str(folder)]
        assert [c for p in processes(home) for c in p.net_connections("inet")] == []
        assert stat.S_IMODE(folder.stat().st_mode) == 0o700
        assert {os.geteuid(), *postmaster.uids()} - {0} == {folder.stat().st_uid}
        assert "/dev/shm/PostgreSQL" not in Path(f"/proc/{pid}/maps").read_text()  # noqa: S108
    assert_nothing_is_left(home, [pid])


@pytest.mark.parametrize("major", MAJORS)
def test_the_second_server_of_a_drill_is_as_good_as_new(
    major: int, clients: Clients, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It has nothing of the first, and a third one is made afresh; none of them leaves anything behind."""
    monkeypatch.setattr("tasks.engine.servers.data_directory._ROOM_BYTES", 0)
    with pristine_data() as pristine:
        for shared in (False, True, False):
            assert pristine.made is shared
            with running_server(clients[major], pristine=pristine, superuser="first role") as server:
                roles = "SELECT rolname FROM pg_roles WHERE rolname !~ '^pg_'"
                assert (asked(server, roles), len(asked(server, "SELECT FROM pg_database"))) == ([("first role",)], 3)
                told(server, "CREATE ROLE left_over", "CREATE DATABASE left_over")
    assert_nothing_is_left(home, [])


def test_on_a_small_disk_the_first_server_has_all_the_room(
    clients: Clients, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing is put aside for the second one then."""
    monkeypatch.setattr("tasks.engine.servers.data_directory._ROOM_BYTES", 1 << 62)
    with pristine_data() as pristine, running_server(clients[15], pristine=pristine):
        assert (pristine.made, [path.name for path in pristine.folder.iterdir()]) == (False, ["lock"])


def _knows(process: psutil.Process, secret: str) -> bool:
    """Return whether other users could see a secret of this process; an exited one has none."""
    with contextlib.suppress(psutil.Error, OSError):
        return secret in " ".join([*process.cmdline(), *process.environ().values()])
    return False


@pytest.mark.parametrize("password", [None, "wrong"])
def test_a_throwaway_server_wants_its_password(password: str | None, clients: Clients, home: Path) -> None:
    """Reaching the socket is useless without the password, which is in no file of the folder and in no argument."""
    with running_server(clients[15]) as server:
        parameters = server.parameters()
        secret = parameters.pop("password")
        login = parameters | ({"password": password} if password else {})
        with (
            pytest.raises(DatabaseRefused, match="password"),
            Server(url=SecretStr(conninfo_url(login))).connect(),
        ):
            pass
        assert [p.pid for p in processes(home) if _knows(p, secret)] == []
        plain = [path for path in home.rglob("*") if path.is_file() and path.stat().st_size < 1 << 20]
        assert not [path for path in plain if secret.encode() in path.read_bytes()]


# --- nothing is left --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("error", [RuntimeError, SystemExit, KeyboardInterrupt])
def test_an_exception_leaves_nothing(error: type[BaseException], clients: Clients, home: Path) -> None:
    """Whatever is raised while the server runs, it is gone when the exception arrives."""
    pids = list[int]()
    with contextlib.suppress(error), running_server(clients[15]):
        pids += postmasters(home)
        raise error
    assert len(pids) == 1
    assert_nothing_is_left(home, pids)


@pytest.mark.usefixtures("sleeping")
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_drill_that_is_told_to_stop_leaves_nothing(
    number: signal.Signals, started_command: StartedCommand, home: Path
) -> None:
    """SIGTERM or Ctrl-C in the middle of a restore leaves nothing."""
    command = started_command("drill", VERIFY_TARGET="sandbox", TMPDIR=str(home))
    until(lambda: bool(restoring(home)))
    pids = postmasters(home)
    command.send_signal(number)
    assert command.wait(60) != 0
    assert_nothing_is_left(home, pids)


@pytest.mark.usefixtures("sleeping")
def test_a_drill_that_is_told_to_stop_at_once_leaves_nothing(started_command: StartedCommand, home: Path) -> None:
    """SIGTERM during initdb leaves nothing."""
    command = started_command("drill", VERIFY_TARGET="sandbox", TMPDIR=str(home))
    until(lambda: any(name_of(p) == "initdb" for p in processes(home)))
    command.send_signal(signal.SIGTERM)
    assert command.wait(60) != 0
    assert_nothing_is_left(home)


def test_the_next_drill_sweeps_what_a_killed_one_left(
    sleeping: Server,
    storage: ObjectStore,
    clients: Clients,
    started_command: StartedCommand,
    flow_run: FlowRun,
    home: Path,
) -> None:
    """After kill -9 the server dies at once; its folder and shared memory stay until the next drill finds them."""
    command = started_command("drill", VERIFY_TARGET="sandbox", TMPDIR=str(home))
    until(lambda: bool(restoring(home)))
    pids = postmasters(home)
    command.kill()
    command.wait(60)
    until(lambda: not list(processes(home)))
    assert (len(folders(home)), len(segments_of(pids))) == (1, 1)
    take_backup(storage, sleeping, clients[15], "backup_20240301_000000")
    ran = flow_run(restore_drill, environ={"VERIFY_TARGET": "sandbox"})
    assert (ran.state, ran.result.place) == ("PROVEN", "sandbox")
    assert_nothing_is_left(home, pids)


def test_a_busy_server_process_does_not_outlive_its_postmaster(clients: Clients, home: Path) -> None:
    """A busy backend doesn't notice that its postmaster died: it is ended along with the folder."""
    died = pytest.raises(DatabaseError, match=r"The throwaway server died \[it was killed by SIGKILL\]")
    with died, running_server(clients[15]) as server:
        pids, command = (
            postmasters(home),
            [clients[15].program("psql"), "-X", "-c", "DO $$ BEGIN LOOP END LOOP; END $$"],
        )
        with Child(command, child_environment(server.child_environment())):
            until(lambda: bool(restoring(home, "DO")))
            os.kill(pids[0], signal.SIGKILL)
            until(lambda: ended(pids[0]))
        assert restoring(home, "DO")
        raise DatabaseUnreachable
    assert_nothing_is_left(home, pids)


# --- only what is ours is swept ---------------------------------------------------------------------------------------


def a_folder(path: Path, *, lock: bool = True, owner: int | None = None) -> Path:
    """Create a folder with a file in it, and optionally a lock that nobody holds."""
    path.mkdir()
    for name in ("data", *(["lock"] if lock else [])):
        (path / name).write_text("")
        if owner is not None:
            os.chown(path / name, owner, owner)
    if owner is not None:
        os.chown(path, owner, owner)
    return path


def test_only_folders_of_killed_drills_are_swept(home: Path) -> None:
    """Folders of live processes, without a lock, of other users, links, and other names are left alone."""
    prefix = "pg-roundtrip-server-"
    dead = a_folder(home / f"{prefix}dead")
    kept = [
        a_folder(home / f"{prefix}without", lock=False),
        a_folder(home / "pg-roundtrip-server"),
        a_folder(home / "pg-roundtrip-s3-dead"),
        a_folder(home / f"my-{prefix}dead"),
        a_folder(home / f"{prefix}linked-lock", lock=False),
    ]
    (home / f"{prefix}linked-lock" / "lock").symlink_to(home / f"my-{prefix}dead" / "lock")
    (home / f"{prefix}link").symlink_to(home / f"my-{prefix}dead")
    (home / f"{prefix}file").write_text("")
    if os.geteuid() == 0:
        kept += [
            a_folder(home / f"{prefix}theirs", owner=12_345),
            a_folder(home / f"{prefix}with-our-lock", owner=12_345),
        ]
        os.chown(kept[-1] / "lock", 0, 0)
    with own_folder(None) as alive:
        assert sweep_servers() == [dead.name]
        assert (alive / "lock").exists()
    for folder in kept:
        assert (folder / "data").exists()
    assert (home / f"{prefix}link").is_symlink()
    assert (home / f"{prefix}file").exists()


def test_a_folder_is_never_seen_without_its_lock(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A sweep that runs while another drill creates its folder doesn't take it for a dead one's."""
    take, swept = folder_lock._take, list[list[str]]()

    def meanwhile(lock: object) -> bool:
        swept.append(sweep_folders(None))
        return take(lock)  # type: ignore[arg-type]

    monkeypatch.setattr(folder_lock, "_take", meanwhile)
    with own_folder(None) as folder:
        assert (swept, sorted(path.name for path in folder.iterdir())) == ([[]], ["lock"])


# --- what is made for a dump ------------------------------------------------------------------------------------------

ROLES = """
-- name: may log in
-- expect: rows = 0
SELECT rolname FROM pg_roles WHERE rolcanlogin AND rolname <> 'postgres';
-- name: roles
-- expect: = 2
SELECT count(*) FROM pg_roles WHERE rolname IN ('the owner', 'a reader');
-- name: in the tablespace
-- expect: = books
SELECT tablename FROM pg_tables WHERE tablespace = 'fast disks';
-- name: owned
-- expect: = 'the owner'
SELECT tableowner FROM pg_tables WHERE tablename = 'books';
"""


@pytest.fixture
def with_roles(new_database: NewDatabase, storage: ObjectStore, clients: Clients) -> None:
    """A backup that names roles and a tablespace that no other server has."""
    source = new_database(16, LIBRARY)
    told(
        source,
        'CREATE ROLE "the owner" LOGIN',
        'CREATE ROLE "a reader"',
        "SET allow_in_place_tablespaces = on",
        """CREATE TABLESPACE "fast disks" LOCATION ''""",
        'ALTER TABLE books OWNER TO "the owner"',
        'ALTER TABLE books SET TABLESPACE "fast disks"',
        'GRANT SELECT ON authors TO "a reader"',
    )
    take_backup(storage, source, clients[16])
    told(
        source, "DROP TABLE books, authors CASCADE", 'DROP TABLESPACE "fast disks"', 'DROP ROLE "the owner", "a reader"'
    )


@pytest.mark.usefixtures("with_roles")
def test_roles_and_tablespaces_are_made(storage: ObjectStore, clients: Clients, home: Path) -> None:
    """Roles and tablespaces that a dump names but can't contain are created, and nobody can log in as them."""
    queries = read_queries(ROLES)
    report = rehearsed(storage, Place("sandbox", client=clients[16]), queries)
    assert (report.verdict, report.cause, report.place) == ("PROVEN", "", "sandbox")
    assert {n: r for n, r in results(report).items() if n.startswith("query: ") and n.removeprefix("query: ") in ROLES} == {
        "query: may log in": "passed", "query: roles": "passed", "query: in the tablespace": "passed", "query: owned": "passed",
    }  # fmt: skip
    assert_nothing_is_left(home)


# --- no other server is needed ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("given", ["nothing", "a closed port"])
def test_a_bucket_is_enough(
    given: str,
    new_database: NewDatabase,
    storage: ObjectStore,
    clients: Clients,
    command_line: Callable[..., Ended],
    home: Path,
) -> None:
    """The backup of a server that is gone is proven in a sandbox, whether or not its address is configured."""
    source = new_database(17, LIBRARY + LARGE_OBJECTS)
    take_backup(storage, source, clients[17])
    environ = {"VERIFY_TARGET": "sandbox", "TMPDIR": str(home)}
    if given == "a closed port":
        address = f"127.0.0.1:{free_ports(1)[0]}/{source.database}"
        environ |= {"DATABASE_URL": f"postgresql://app:secret@{address}", "VERIFY_TARGET": ""}
    done = command_line("drill", **environ)
    assert (done.status, done.out.splitlines()[0]) == (0, "PROVEN: backup_20240207_143022"), done.err
    assert "WARNING" not in done.err
    assert_nothing_is_left(home)
