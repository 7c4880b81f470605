"""Be the one door to the environment for everything that is no setting: what children get, and what others read of us."""

from __future__ import annotations

import contextlib
import os
import tempfile
from collections.abc import Mapping
from pathlib import Path


def ignored_tmpdir() -> str | None:
    """The folder that TMPDIR names when temporary files go elsewhere: Python takes another one without a word."""
    wanted = os.environ.get("TMPDIR")
    with contextlib.suppress(OSError):  # where there is none at all, whoever needs one says so
        return wanted if wanted and Path(wanted).resolve() != Path(tempfile.gettempdir()).resolve() else None
    return None


def child_environment(extra: Mapping[str, str]) -> dict[str, str]:
    """The environment of a child process: the few variables that programs need, and what is given here.

    Nothing else is handed on, so no child sees the storage's keys, and no PG* variable that happens to be
    set here changes what a dump connects to.
    """
    kept = ("PATH", "HOME", "LD_LIBRARY_PATH", "TMPDIR", "SSL_CERT_FILE", "SSL_CERT_DIR")
    inherited = {name: os.environ[name] for name in kept if name in os.environ}
    return {**inherited, "LC_ALL": "C.UTF-8", "PGTZ": "UTC", **extra}


def set_in_environment(name: str, value: str) -> None:
    """Hand a value to this process and its children by environment, which is where secrets travel."""
    os.environ[name] = value


def reach_ourselves_directly() -> None:
    """Keep an HTTP proxy that is set for everything out of the way between the parts of this service."""
    for name in ("NO_PROXY", "no_proxy"):
        hosts = [os.environ.get(name, ""), "127.0.0.1", "localhost"]
        os.environ[name] = ",".join(host for host in hosts if host)


def default_in_environment(defaults: Mapping[str, str]) -> None:
    """Set variables that the user has not set, before a library reads them."""
    for name, value in defaults.items():
        os.environ.setdefault(name, value)


def environment_of_ours() -> dict[str, str]:
    """The whole environment, for a process that is a part of us."""
    return dict(os.environ)
