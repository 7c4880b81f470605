"""Configure Prefect before it is imported, so that its server fits into a small container."""

from __future__ import annotations

import secrets
import sys
from dataclasses import dataclass
from pathlib import Path

from prefect.settings import PREFECT_API_URL, PREFECT_HOME

from blocks.config.environment import (
    bypass_proxy_for_localhost,
    default_in_environment,
    set_in_environment,
    variable,
)
from blocks.config.load import load_service_settings
from blocks.config.settings import Settings
from flows import SERVED, lines
from flows.service.history import MOVED, moved_lines, sweep_temporary_homes, temporary_home, why_unusable
from tasks.engine.drill.query_file import load_queries

OWN_SERVER, NO_HISTORY, MADE = "--own-server", "--no-history", "--made"
_MADE_BYTES = 12


@dataclass(frozen=True)
class Login:
    """The login for the Prefect UI and API; `made` if its password was generated."""

    user: str
    password: str
    made: bool

    @classmethod
    def from_settings(cls, settings: Settings, *, made: bool = False) -> Login:
        """Create the login from the settings, with a newly generated password if they have none."""
        if settings.ui_password:
            return cls(settings.ui_username, settings.ui_password.get_secret_value(), made)
        return cls(settings.ui_username, secrets.token_urlsafe(_MADE_BYTES), made=True)

    @property
    def auth_string(self) -> str:
        """`user:password`, as Prefect's clients expect it."""
        return f"{self.user}:{self.password}"


def prepare() -> list[str]:
    """Check every setting, set what Prefect reads when it is imported, and return the command to exec.

    Prefect is already imported in this process, so the service must be a new program with the same process id.
    Raises ConfigurationError with all errors.
    """
    settings = load_service_settings()
    if "restore-drill" in settings.enabled_flows:
        load_queries(settings.verify_queries_file)
    default_in_environment(for_any_server())
    command = [sys.executable, "-P", "-m", "flows.serve"]
    if PREFECT_API_URL.value():
        return command
    login, home = Login.from_settings(settings), PREFECT_HOME.value()
    for name, value in for_own_server(settings, login, home).items():
        set_in_environment(name, value)
    bypass_proxy_for_localhost()
    set_in_environment("UI_PASSWORD", login.password)
    command += [OWN_SERVER, *([MADE] if login.made else [])]
    sweep_temporary_homes()
    why = why_unusable(home)
    return move_history(command, why) if why else command


def move_history(command: list[str], why: str) -> list[str]:
    """Keep the history in a temporary folder instead, or nowhere, because no backup may wait for it; say so.

    Returns the command with which to start the service.
    """
    wanted = PREFECT_HOME.value()
    home = None if variable(MOVED) else temporary_home()
    lines.print_error(moved_lines(wanted, why, home), "WARNING")
    set_in_environment(MOVED, why)
    if home is None:
        return [NO_HISTORY if each == OWN_SERVER else each for each in command]
    for name, value in in_folder(home).items():
        set_in_environment(name, value)
    # Whichever database was meant, this is another.
    set_in_environment("PREFECT_SERVER_DATABASE_CONNECTION_URL", f"sqlite+aiosqlite:///{home / 'prefect.db'}")
    return command


def for_any_server() -> dict[str, str]:
    """Variables for the process, whichever Prefect server it uses."""
    # By default, glibc gives each thread its own arena, and never releases it.
    # Return large blocks to the system when they are freed, instead of leaving holes.
    return {
        "MALLOC_ARENA_MAX": "2",
        "MALLOC_MMAP_THRESHOLD_": "1048576",
        "MALLOC_TRIM_THRESHOLD_": "1048576",
        # A run's process logs errors of Prefect's server before it imports our flow.
        "PREFECT_LOGGING_HANDLERS_CONSOLE_CLASS": "flows.runs.console.Console",
        SERVED: "1",
    }


def for_own_server(settings: Settings, login: Login, home: Path) -> dict[str, str]:
    """Variables that make this process a server: its address, its clients' login, and a home that survives restarts."""
    return {
        **in_folder(home),
        "PREFECT_API_URL": f"http://127.0.0.1:{settings.port}/api",
        "PREFECT_API_AUTH_STRING": login.auth_string,
        "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
        "DO_NOT_TRACK": "1",
        "PREFECT_SERVER_UI_API_URL": "/api",
        "PREFECT_SERVER_UI_SHOW_PROMOTIONAL_CONTENT": "false",
        # A separate process migrates: migrations leave 60 MB behind in the process that runs them.
        "PREFECT_SERVER_DATABASE_MIGRATE_ON_START": "false",
        # Not in memory, where a lease would hold a deployment's only slot forever after a hard restart.
        "PREFECT_SERVER_CONCURRENCY_LEASE_STORAGE": "prefect.server.concurrency.lease_storage.filesystem",
        "PREFECT_SERVER_SERVICES_DB_VACUUM_ENABLED": "events,flow_runs",
    }


def in_folder(home: Path) -> dict[str, str]:
    """Variables for what Prefect's server writes: its database, and the pages of its UI."""
    return {"PREFECT_HOME": str(home), "PREFECT_SERVER_UI_STATIC_DIRECTORY": str(home / "ui")}
