"""Make the data directory of a throwaway server: by initdb, or by a copy, which takes a tenth of the time."""

from __future__ import annotations

import os
import pwd
import secrets
import shutil
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from blocks.config.environment import child_environment
from blocks.errors import NoSpaceLeft, PgRoundtripError, SandboxFailed
from tasks.engine import process
from tasks.engine.servers import nameless
from tasks.engine.servers.programs import Client
from tasks.engine.servers.sandbox_dir import own_folder

SUPERUSER = "postgres"
FULL, MORE_SPACE = "No space left", "free some space, or set TMPDIR to a folder on a larger disk"
_CHECKSUMS_SINCE = 18  # initdb's default
DATA, _TIMEOUT_S = "data", 120
_ROOM_BYTES = 1 << 30  # a data directory has 40 MB


@dataclass
class PristineData:
    """A data directory that initdb made and no server ever used, for the second server of a drill.

    A copy of the first server's before that starts; the second server takes it. Both have one random password.
    """

    folder: Path
    password: str = field(default_factory=lambda: secrets.token_urlsafe(24), repr=False)
    made: bool = False


@contextmanager
def pristine_data() -> Iterator[PristineData]:
    """Keep a data directory for as long as the context lasts; raises our own errors if there is no place for it."""
    with made_folder(unprivileged()) as folder:
        yield PristineData(folder)


@contextmanager
def made_folder(user: process.User | None) -> Iterator[Path]:
    """Yield a folder of our own; raises our own errors if it can't be created."""
    with ExitStack() as stack:
        with making():
            folder = stack.enter_context(own_folder(user))
        yield folder


def make_data(
    client: Client, programs: Path, folder: Path, user: process.User | None, pristine: PristineData | None = None
) -> str:
    """Create the data directory of a server in its folder; return the password of `SUPERUSER`.

    Raises OSError if a program can't be started, our own errors if it fails.
    """
    if pristine is None:
        password = secrets.token_urlsafe(24)
        _initialise(client, programs, folder, user, password)
        return password
    if pristine.made:
        pristine.made = False
        (pristine.folder / DATA).rename(folder / DATA)
        return pristine.password
    _initialise(client, programs, folder, user, pristine.password)
    pristine.made = _copied(folder / DATA, pristine.folder / DATA, user)
    return pristine.password


def _copied(source: Path, target: Path, user: process.User | None) -> bool:
    """Copy a data directory, unless something prevents it: then the second server has one of its own."""
    shutil.rmtree(target, ignore_errors=True)
    command = ["cp", "-R", "-p", str(source), str(target)]
    try:
        # What the copy takes must not be missed by the first server, which lives until the dump is compared.
        if shutil.disk_usage(target.parent).free < _ROOM_BYTES:
            return False
        copied = process.run(command, child_environment({}), user=user, timeout_s=_TIMEOUT_S)[0] == 0
    except OSError:
        copied = False
    if not copied:
        shutil.rmtree(target, ignore_errors=True)
    return copied


@contextmanager
def making() -> Iterator[None]:
    """Translate the system's errors into our own."""
    try:
        yield
    except OSError as error:
        raise not_made(str(error)) from None


def not_made(said: str) -> PgRoundtripError:
    """Return the error for what a program or the system said."""
    if full := next((line.strip() for line in said.splitlines() if FULL in line), ""):
        return NoSpaceLeft(full[-300:], hint=MORE_SPACE)
    return SandboxFailed(said.strip()[-300:], hint=nameless.HINT if nameless.WITHOUT_NAME in said else None)


def _initialise(client: Client, programs: Path, folder: Path, user: process.User | None, password: str) -> None:
    """Create the data directory; pass the superuser's password in a file that only its owner can read."""
    secret = folder / "password"
    secret.touch()
    secret.chmod(0o600)  # whatever the umask
    secret.write_text(password + "\n")
    if user:
        os.chown(secret, user.uid, user.gid)
    command = [str(programs / "initdb"), "-D", str(folder / DATA), f"--username={SUPERUSER}", "-A", "scram-sha-256",
               f"--pwfile={secret}", "-E", "UTF8", "--locale=C", "--no-sync"]  # fmt: skip
    command += ["--no-data-checksums"] if client.major >= _CHECKSUMS_SINCE else []
    seen = nameless.Disguise() if user else nameless.disguise(folder)
    code, printed = process.run(
        command, child_environment(seen.environ), user=user, timeout_s=_TIMEOUT_S, cwd=folder, before=seen.before
    )
    secret.unlink()
    if code:
        raise not_made(f"initdb: {printed}")


def unprivileged() -> process.User | None:
    """Return the user to run a server as: None for ourselves, or `postgres` or `nobody` if we are root."""
    if os.geteuid() != 0:
        return None
    for name in ("postgres", "nobody"):
        try:
            entry = pwd.getpwnam(name)
        except KeyError:
            continue
        return process.User(entry.pw_uid, entry.pw_gid)
    raise SandboxFailed(
        "we are root, and PostgreSQL refuses to run as root",
        hint="run as another user, or add one named postgres",
    )
