"""Find out whether a Prefect server is named, which takes Prefect itself a second."""

from __future__ import annotations

import contextlib
import sys
import tomllib
from pathlib import Path

from blocks.config.environment import variable
from blocks.errors import ConfigurationError, Problem

_HINT = "set PREFECT_API_URL to the address of a Prefect server, for instance http://127.0.0.1:4200/api"


def prefect_server() -> str:
    """Return the server's address from PREFECT_API_URL or the active profile of `prefect config set`; else empty."""
    if "prefect" in sys.modules:
        from prefect.settings import PREFECT_API_URL  # noqa: PLC0415  (loaded already)

        return str(PREFECT_API_URL.value() or "")
    named = variable("PREFECT_API_URL", None)
    return _in_profile() if named is None else named  # for Prefect, too, an empty variable hides the profile's


def missing_server(what: str) -> list[Problem]:
    """Return the problem if no server is named for `what`, which needs one."""
    return [] if prefect_server() else [Problem(f"{what} needs a Prefect server", _HINT)]


def require_server(what: str) -> None:
    """Raise ConfigurationError if no server is named for `what`, which needs one."""
    if problems := missing_server(what):
        raise ConfigurationError(problems)


def _in_profile() -> str:
    """Read the active profile (https://docs.prefect.io/v3/concepts/settings-and-profiles)."""
    with contextlib.suppress(OSError, RuntimeError, ValueError, AttributeError):  # none, unreadable or no profiles
        home = Path(variable("PREFECT_HOME") or "~/.prefect").expanduser()
        path = Path(variable("PREFECT_PROFILES_PATH") or home / "profiles.toml")
        profiles = tomllib.loads(path.read_text())
        active = variable("PREFECT_PROFILE") or profiles.get("active")
        return str(profiles.get("profiles", {}).get(active, {}).get("PREFECT_API_URL", ""))
    return ""
