"""Start a throwaway PostgreSQL server from installed programs, and leave nothing of it behind.

A server lives in one folder, which the process that made it keeps locked for as long as it runs. A folder that is not
locked belongs to a run that was killed, and is swept. A crashed server is not restarted: its databases are useless.
"""

from __future__ import annotations

import os
import re
import secrets
import shutil
import signal
import stat
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from pydantic import SecretStr

from blocks.config.environment import child_environment
from blocks.errors import DatabaseUnreachable, NoSpaceLeft, PgRoundtripError, SandboxFailed
from blocks.sql.server import Server
from blocks.sql.url import conninfo_url
from tasks.engine import process
from tasks.engine.confinement import Confinement
from tasks.engine.servers.data_directory import (
    DATA,
    FULL,
    MORE_SPACE,
    SUPERUSER,
    PristineData,
    made_folder,
    make_data,
    making,
    not_made,
    unprivileged,
)
from tasks.engine.servers.orphans import clear_after_server
from tasks.engine.servers.programs import Client
from tasks.engine.servers.sandbox_dir import sweep_folders

_START_TIMEOUT_S = 60
_STOP_TIMEOUT_S = 3  # an immediate shutdown takes less; removing the folder kills what still runs
_DEATH_TIMEOUT_S = 10  # time for a crashed server to say why
_LAST_WORDS = re.compile(r"(?:PANIC:\s+(.*)|LOG:\s+(.* was terminated by signal .*))")
# Nothing in a throwaway server has to survive a crash, and its data is written once and read once.
_FAST = {
    "fsync": "off",
    "full_page_writes": "off",
    "synchronous_commit": "off",
    "wal_level": "minimal",
    "max_wal_senders": "0",
    "max_wal_size": "4GB",
    "autovacuum": "off",
    "jit": "off",
    "shared_buffers": "16MB",
    "work_mem": "16MB",
    "maintenance_work_mem": "32MB",
    # Each worker uses its own memory, and a small container has at most two cores.
    "max_parallel_maintenance_workers": "1",
    "max_locks_per_transaction": "1024",
    "logging_collector": "off",
    # We must learn that it crashed; and with fsync off there is nothing to recover from.
    "restart_after_crash": "off",
    # A killed server's dynamic shared memory is then deleted with its folder.
    "dynamic_shared_memory_type": "mmap",
}
# Three times as fast as the default, if the server was built with it; compression does not change the contents.
_LZ4 = "SELECT 1 FROM pg_settings WHERE name = 'default_toast_compression' AND 'lz4' = ANY (enumvals)"


@contextmanager
def running_server(
    client: Client,
    *,
    port: int | None = None,
    settings: Mapping[str, str] | None = None,
    superuser: str = SUPERUSER,
    pristine: PristineData | None = None,
) -> Iterator[Server]:
    """Run a private server while the context lasts; yield its database `postgres`, as `superuser`, its first role.

    It listens on a socket in a private directory and, if `port` is given, on 127.0.0.1; the password is random. If we
    are root it runs as an unprivileged user, because PostgreSQL refuses to run as root. Without a port it is confined,
    because it may run code of a dumped database.
    """
    user = unprivileged()
    with made_folder(user) as folder:
        with making():
            programs = _reachable(client.folder, folder, user)
            password = make_data(client, programs, folder, user, pristine)
        options = {**_FAST, **(settings or {}), "unix_socket_directories": str(folder), "port": str(port or 5432)}
        options["listen_addresses"] = "127.0.0.1" if port else ""
        address = {"host": "127.0.0.1" if port else str(folder), "port": str(port or 5432)}
        login = {"password": password, "dbname": "postgres"}
        server = Server(url=SecretStr(conninfo_url({**address, **login, "user": SUPERUSER})))
        # A server with a port is not for drills: it serves other programs, which give it files from elsewhere.
        reach = None if port else Confinement(readable=_folders_of(programs), writable=(folder,))
        with _started(programs, folder, user, options, server, reach):
            if superuser != SUPERUSER:
                _rename_first_role(server, superuser)
            yield Server(url=SecretStr(conninfo_url({**address, **login, "user": superuser})))


def _rename_first_role(server: Server, name: str) -> None:
    """Give the first role any name: initdb takes few, and copies have one name. Nobody can rename the role of a session."""
    other = f"other_{secrets.token_hex(8)}"
    with server.connect() as connection:
        connection.execute("CREATE ROLE {} SUPERUSER", other)
        connection.execute("SET SESSION AUTHORIZATION {}", other)
        connection.execute(f"ALTER ROLE {SUPERUSER} RENAME TO {{}}", name)
        connection.execute("RESET SESSION AUTHORIZATION")
        connection.execute("DROP ROLE {}", other)


def sweep_servers() -> list[str]:
    """Remove the folders of throwaway servers whose owners were killed; return their names."""
    return sweep_folders(unprivileged())


@contextmanager
def _started(
    programs: Path,
    folder: Path,
    user: process.User | None,
    options: Mapping[str, str],
    server: Server,
    reach: Confinement | None,
) -> Iterator[None]:
    flags = [part for name, value in options.items() for part in ("-c", f"{name}={value}")]
    command = [str(programs / "postgres"), "-D", str(folder / DATA), *flags]
    environ = child_environment({"TMPDIR": str(folder)})
    with process.Child(command, environ, user=user, cwd=folder, confinement=reach) as child:
        try:
            _await_answer(child, server)
            yield
        except DatabaseUnreachable as error:
            if not child.running:
                clear_after_server(folder)  # busy backends may not have noticed that the server is gone
            raise _death(child, error) from None
        except NoSpaceLeft as error:
            error.hint = MORE_SPACE
            raise
        finally:
            # Immediate shutdown: the data is about to be deleted.
            child.send(signal.SIGQUIT)
            try:
                child.wait(_STOP_TIMEOUT_S)
            except TimeoutError:
                child.kill()


def _death(child: process.Child, error: DatabaseUnreachable) -> PgRoundtripError:
    """Return the error that says why the server became unreachable, in its own words."""
    try:
        code = child.wait(_DEATH_TIMEOUT_S)
    except TimeoutError:
        return SandboxFailed(error.context, message="The throwaway server does not answer", hint="", transient=True)
    lines = child.stderr_lines()
    if any(FULL in line for line in lines):
        return not_made("\n".join(lines))
    said = [found[1] or found[2] for found in map(_LAST_WORDS.search, lines) if found]
    how = f"it was killed by {signal.Signals(-code).name}" if code < 0 else f"it exited with code {code}"
    hint = "check the system log; it may have run out of memory"
    return SandboxFailed(said[0] if said else how, message="The throwaway server died", hint=hint, transient=True)


def _await_answer(child: process.Child, server: Server) -> None:
    deadline = time.monotonic() + _START_TIMEOUT_S
    while child.running and time.monotonic() < deadline:
        try:
            with server.connect() as connection:
                if connection.query(_LZ4):
                    connection.execute("ALTER SYSTEM SET default_toast_compression = lz4")
                    connection.query("SELECT pg_reload_conf()")
        except PgRoundtripError:
            time.sleep(0.05)
        else:
            return
    lines = child.stderr_lines()
    if any(FULL in line for line in lines):
        raise not_made("\n".join(lines))
    raise SandboxFailed(child.error_summary(), message="The throwaway server did not start")


def _reachable(programs: Path, folder: Path, user: process.User | None) -> Path:
    """Return the programs, copied if the server's user cannot read them: home directories are often private."""
    if user is None or _open_to_all(programs):
        return programs
    install, libraries = _folders_of(programs)
    copy = folder / "programs"
    shutil.copytree(install, copy / install.parent.name / install.name, symlinks=True)
    if libraries.is_dir():
        shutil.copytree(libraries, copy / libraries.name, symlinks=True)
    for path in (copy, *copy.rglob("*")):
        os.chown(path, user.uid, user.gid, follow_symlinks=False)
    return copy / install.parent.name / install.name / programs.name


def _folders_of(programs: Path) -> tuple[Path, Path]:
    """Return the installation and the folder beside the package where a wheel's programs look for their libraries."""
    install = programs.parent
    return install, install.parent.with_name(f"{install.parent.name}.libs")


def _open_to_all(path: Path) -> bool:
    needed = stat.S_IXOTH | stat.S_IROTH
    return all(p.stat().st_mode & stat.S_IXOTH for p in path.parents) and path.stat().st_mode & needed == needed
