"""The single gateway to environment variables other than settings: those for child processes and for libraries."""

from __future__ import annotations

import contextlib
import os
import re
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import overload


def ignored_tmpdir() -> str | None:
    """Return TMPDIR if temporary files go elsewhere: Python silently picks another folder when it cannot use TMPDIR."""
    wanted = os.environ.get("TMPDIR")
    with contextlib.suppress(OSError):  # no usable folder at all: whatever needs one will report it
        return wanted if wanted and Path(wanted).resolve() != Path(tempfile.gettempdir()).resolve() else None
    return None


def child_environment(extra: Mapping[str, str]) -> dict[str, str]:
    """Build the environment of a child process: the few variables that programs need, and `extra`.

    Nothing else is inherited, so no child sees the storage's keys, and no PG* variable that happens to be
    set here changes what a dump connects to.
    """
    kept = ("PATH", "HOME", "LD_LIBRARY_PATH", "TMPDIR", "SSL_CERT_FILE", "SSL_CERT_DIR")
    inherited = {name: os.environ[name] for name in kept if name in os.environ}
    return {**inherited, "LC_ALL": "C.UTF-8", "PGTZ": "UTC", **extra}


@overload
def variable(name: str) -> str: ...
@overload
def variable(name: str, default: None) -> str | None: ...
def variable(name: str, default: str | None = "") -> str | None:
    """Return a variable that other software defines, or else the default."""
    return os.environ.get(name, default)


def cache_folder() -> Path | None:
    """Return where a cache belongs (https://specifications.freedesktop.org/basedir-spec); None if there is no such place."""
    home = variable("HOME")
    folder = Path(variable("XDG_CACHE_HOME") or (f"{home}/.cache" if home else ""), "pg-roundtrip")
    return folder if folder.is_absolute() else None


def forget_libpq_variables() -> None:
    """Remove the variables that libpq reads by itself: our own sessions must not differ from those of pg_dump."""
    for name in [name for name in os.environ if re.fullmatch("PG[A-Z]+", name)]:
        del os.environ[name]


def set_in_environment(name: str, value: str) -> None:
    """Pass a value to this process and its children through the environment, as secrets must not be in arguments."""
    os.environ[name] = value


def bypass_proxy_for_localhost() -> None:
    """Bypass any configured HTTP proxy for connections between the parts of this service."""
    for name in ("NO_PROXY", "no_proxy"):
        hosts = [os.environ.get(name, ""), "127.0.0.1", "localhost"]
        os.environ[name] = ",".join(host for host in hosts if host)


def default_in_environment(defaults: Mapping[str, str]) -> None:
    """Set variables that the user has not set, before a library reads them."""
    for name, value in defaults.items():
        os.environ.setdefault(name, value)


def full_environment() -> dict[str, str]:
    """Return the whole environment, for a child process that is part of this program."""
    return dict(os.environ)
