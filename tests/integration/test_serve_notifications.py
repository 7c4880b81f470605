"""The service tells what does not happen, says so itself while nobody takes its messages, and repeats nothing."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

from blocks.s3.client import ObjectStore
from flows.demo.services import Storage
from tasks.clock import utc_now
from tasks.engine.notify.incidents import Incident, Subject
from tasks.engine.repository.names import name_at, notice_file
from tasks.engine.servers.programs import Client
from tests.conftest import NewDatabase, command_environment
from tests.integration.objects import LIBRARY, take_backup
from tests.integration.services import running_service
from tests.receivers import receiving


def test_overdue(
    new_database: NewDatabase, storage_server: Storage, storage: ObjectStore, clients: dict[int, Client], tmp_path: Path
) -> None:
    """Overdue beyond its grace: told once, by whichever service the receiver first hears, after a lost volume, too."""
    server, now = new_database(16, LIBRARY), utc_now()
    take_backup(storage, server, clients[16], name_at(now - timedelta(hours=30)))
    # An hour ago it was seen for the first time; the service needs no memory of its own to know that.
    since = now - timedelta(hours=1)
    first = Incident(subject=Subject.OVERDUE, open=True, since=since, seen_at=since)
    storage.put(storage.key(notice_file("default", "overdue", since)), first.model_dump_json(by_alias=True).encode())
    with receiving() as receiver:
        receiver.always = 403
        for home in (tmp_path / "one", tmp_path / "two"):
            home.mkdir()
            environ = command_environment(storage_server, storage, "", home)
            # A Prefect server that does not answer: the service looks without it, and begins no backup for a minute.
            with running_service(
                environ, home, DATABASE_URL=server.url.get_secret_value(), WEBHOOK_URL=receiver.url, SERVE_FLOWS="backup",
                PREFECT_API_URL="http://127.0.0.1:1/api",
            ) as service:  # fmt: skip
                if home.name == "one":
                    service.await_line("WARNING: Not told by webhook: Backups are overdue (default) [HTTP status 403]")
                    service.wait(lambda: "HTTP status 403" in service.get("/health").json()["notifications"], "trouble")
                    assert service.get("/health").status_code == 200
                    failed = 'pg_roundtrip_notifications_failed{channel="webhook",plan="default"} 1.0'
                    service.wait(lambda: failed in service.get("/metrics").text, "the metric")  # noqa: B023
                    receiver.always = None
                else:
                    service.wait(lambda: len(receiver.got) == 2, "the message")
                    assert service.get("/health").json()["notifications"] == "ok"
    assert receiver.kinds() == [("overdue", "failed")] * 2
    assert len({got.headers["Idempotency-Key"] for got in receiver.got}) == 1
