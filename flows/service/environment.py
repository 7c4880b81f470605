"""Say what Prefect has to be told before it is imported, so that its server lives well inside a small container."""

from __future__ import annotations

import secrets
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

from prefect.settings import PREFECT_API_URL, PREFECT_HOME

from blocks.config.environment import default_in_environment, reach_ourselves_directly, set_in_environment
from blocks.config.load import load_service_settings
from blocks.config.settings import Settings
from flows import SERVED, lines
from tasks.engine.drill.query_file import load_queries

OWN_SERVER, MADE = "--own-server", "--made"
_MADE_BYTES = 12


@dataclass(frozen=True)
class Login:
    """Who may use the Prefect UI and API; `made` when nobody chose a password."""

    user: str
    password: str
    made: bool

    @classmethod
    def from_settings(cls, settings: Settings, *, made: bool = False) -> Login:
        """The login of the settings, with a password that was never used before when they have none."""
        if settings.ui_password:
            return cls(settings.ui_username, settings.ui_password.get_secret_value(), made)
        return cls(settings.ui_username, secrets.token_urlsafe(_MADE_BYTES), made=True)

    @property
    def auth_string(self) -> str:
        """`user:password`, as Prefect's clients have it."""
        return f"{self.user}:{self.password}"


def prepare() -> list[str]:
    """Check every setting, set what Prefect reads when it is imported, and return the command to become.

    Prefect is imported already where this runs, so the service has to be a new program with the same process id.
    Raises ConfigurationError with every fault.
    """
    settings = load_service_settings()
    if "restore-drill" in settings.served:
        load_queries(settings.verify_queries_file)
    default_in_environment(for_any_server())
    command = [sys.executable, "-P", "-m", "flows.serve"]
    if PREFECT_API_URL.value():
        return command
    login = Login.from_settings(settings)
    home, complaint = usable_home(PREFECT_HOME.value())
    for name, value in for_own_server(settings, login, home).items():
        set_in_environment(name, value)
    reach_ourselves_directly()
    if complaint:
        lines.complain([f"{complaint}; the history of runs is kept in {home} until the next start"], "WARNING")
    set_in_environment("UI_PASSWORD", login.password)
    return [*command, OWN_SERVER, *([MADE] if login.made else [])]


def for_any_server() -> dict[str, str]:
    """What the process wants whichever Prefect server it talks to."""
    # glibc gives each thread an arena of its own, and never gives them back.
    # What is large goes back to the system when it is freed, instead of leaving holes.
    return {
        "MALLOC_ARENA_MAX": "2",
        "MALLOC_MMAP_THRESHOLD_": "1048576",
        "MALLOC_TRIM_THRESHOLD_": "1048576",
        SERVED: "1",
    }


def for_own_server(settings: Settings, login: Login, home: Path) -> dict[str, str]:
    """What makes a server of this process: its address, the login of its clients, and a home that outlives restarts."""
    return {
        "PREFECT_HOME": str(home),
        "PREFECT_API_URL": f"http://127.0.0.1:{settings.port}/api",
        "PREFECT_API_AUTH_STRING": login.auth_string,
        "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
        "DO_NOT_TRACK": "1",
        "PREFECT_SERVER_UI_API_URL": "/api",
        "PREFECT_SERVER_UI_STATIC_DIRECTORY": str(home / "ui"),
        "PREFECT_SERVER_UI_SHOW_PROMOTIONAL_CONTENT": "false",
        # Migrations leave 60 MB behind in the process that runs them.
        "PREFECT_SERVER_DATABASE_MIGRATE_ON_START": "false",
        # In memory, a lease would hold a deployment's one slot for ever after a hard restart.
        "PREFECT_SERVER_CONCURRENCY_LEASE_STORAGE": "prefect.server.concurrency.lease_storage.filesystem",
        "PREFECT_SERVER_SERVICES_DB_VACUUM_ENABLED": "events,flow_runs",
    }


def usable_home(wanted: Path) -> tuple[Path, str]:
    """The folder for Prefect's database, and why it is another than the wanted one; the bucket is the truth, so any will do."""
    try:
        wanted.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=wanted):
            return wanted, ""
    except OSError as error:
        return Path(tempfile.mkdtemp(prefix="pg-roundtrip-")), f"{wanted} cannot be written: {error.strerror}"
