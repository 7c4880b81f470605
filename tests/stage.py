"""Give the Prefect UI something to show: backups of several days, and one run of every kind and outcome."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta
from functools import cache
from pathlib import Path

import pytest
from prefect.settings import PREFECT_API_AUTH_STRING, PREFECT_API_URL, temporary_settings

from blocks.config.values import FLOWS
from blocks.s3.client import ObjectStore
from blocks.sql.server import Server
from flows.backup import backup
from flows.demo.sample import load_sample
from flows.demo.services import Storage, free_ports, send_what_waits
from flows.prune import prune
from flows.restore import restore
from flows.restore_drill import restore_drill
from tasks.clock import utc_now
from tasks.engine.repository import names
from tasks.engine.repository.manifest import DrillReport, Verdict
from tasks.engine.repository.repository import Repository
from tasks.engine.servers.programs import Client
from tests.browser import Site
from tests.conftest import command_environment
from tests.integration.damage import flipped_bit
from tests.integration.objects import copied, take_backup, told, without_manifest
from tests.integration.services import running_service

PREFIX = "production/shop"  # in a folder of its own: the status page shows those beside it, too
_LONG_S = str(30 * 86400)
_DAYS = 6
_GROW = """INSERT INTO events (happened_at, token, payload)
SELECT happened_at, gen_random_uuid(), payload FROM events WHERE id % {} = 0"""


@contextmanager
def played(storage: Storage, database: Server, client: Client, folder: Path, sample_mb: int) -> Iterator[Site]:
    """Fill an empty database, back it up, and run everything once under a service; yield its UI."""
    environ = {
        **command_environment(storage, storage.store(PREFIX), "", folder),
        "DATABASE_URL": database.url.get_secret_value(),
        "RESTORE_DATABASE_URL": database.on(f"{database.database}_copy").url.get_secret_value(),
        # No scheduled run starts while the UI is open.
        "BACKUP_INTERVAL": _LONG_S, "VERIFY_INTERVAL": _LONG_S,
    }  # fmt: skip
    load_sample(database, sample_mb)
    _past(storage.store(PREFIX), database, client)
    with running_service(environ, folder) as service:
        service.wait(service.answers, "the service listens")
        settings = {PREFECT_API_URL: f"{service.url}/api", PREFECT_API_AUTH_STRING: ":".join(service.login)}
        site = Site(service.url, *service.login)
        service.wait(lambda: len(site.ask("deployments")) == len(FLOWS), "its deployments")
        with pytest.MonkeyPatch.context() as patched, temporary_settings(settings):
            for name, value in environ.items():
                if not name.startswith("PREFECT_"):
                    patched.setenv(name, value)
            # Each process has a single event sender, which keeps the first server it used: flush it first.
            send_what_waits()
            _present(storage.store(PREFIX), database, patched)
            # Flush again, so that everything is visible and nothing is sent to a server that is gone.
            send_what_waits()
        yield site


def _past(bucket: ObjectStore, database: Server, client: Client) -> None:
    """Make one backup a day of a growing database; the oldest is foreign, and one is past its retention."""
    for days in range(_DAYS, 0, -1):
        told(database, _GROW.replace("{}", str(3 + days % 3)))
        take_backup(bucket, database, client, _ago(days, hours=2), level=6)
    copied(bucket, _ago(30), _ago(_DAYS, hours=2))
    without_manifest(bucket, _ago(_DAYS, hours=2))
    drilled = DrillReport(tool_version="1", backup=_ago(1, hours=2), verdict=Verdict.INCONCLUSIVE, cause="nobody knows", checks=(),
                          started_at=utc_now(), restore_seconds=0, seconds=0)  # fmt: skip
    # Otherwise the service would drill it at the same time as others.
    Repository(bucket).store_report(drilled)


def _present(bucket: ObjectStore, database: Server, patched: pytest.MonkeyPatch) -> None:
    """Run every flow to every outcome; the newest backup is good and PROVEN."""
    bad = backup()
    flipped_bit(bucket, bad.name)
    assert restore_drill(return_state=True).name == "FAILED"
    patched.setenv("VERIFY_DATABASE_URL", database.on("no such database").url.get_secret_value())
    assert restore_drill(backup=_ago(1, hours=2), return_state=True).name == "INCONCLUSIVE"
    patched.delenv("VERIFY_DATABASE_URL")
    assert backup(return_state=True).is_completed()
    assert restore_drill(return_state=True).name == "PROVEN"
    assert restore(names.LATEST) > 0
    assert prune(dry_run=True).removals == []
    with patched.context() as elsewhere:
        elsewhere.setenv("DATABASE_URL", f"postgresql://someone:secret@127.0.0.1:{free_ports(1)[0]}/shop")
        assert backup(return_state=True).is_failed()


@cache
def _this_hour() -> datetime:
    """The hour in which this began: names stay the same when the next one begins."""
    return utc_now().replace(minute=0, second=0)


def _ago(days: int, hours: int = 0) -> str:
    return names.name_at(_this_hour() - timedelta(days=days, hours=hours))
