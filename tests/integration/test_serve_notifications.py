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
    with receiving() as receiver, server.connect(own_names=True) as connection, connection.transaction():
        connection.execute("LOCK TABLE books")  # the backup that the service begins waits for it
        receiver.always = 403
        for number in (1, 2):
            home = tmp_path / str(number)
            home.mkdir()
            environ = command_environment(storage_server, storage, "", home)
            with running_service(
                environ, home, DATABASE_URL=server.url.get_secret_value(), WEBHOOK_URL=receiver.url, SERVE_FLOWS="backup"
            ) as service:
                if number == 1:
                    service.await_line("WARNING: Not told by webhook: Backups are overdue (default) [HTTP status 403]")
                    service.wait(lambda: "HTTP status 403" in service.get("/health").json()["notifications"], "the trouble")
                    assert service.get("/health").status_code == 200
                    assert 'pg_roundtrip_notifications_failed{channel="webhook",plan="default"} 1.0' in service.get("/metrics").text
                    receiver.always = None
                else:
                    service.wait(lambda: len(receiver.got) == 2, "the message")
                    service.wait(lambda: service.get("/health").json()["notifications"] == "ok", "no trouble")
    assert receiver.kinds() == [("overdue", "failed")] * 2
    assert len({got.headers["Idempotency-Key"] for got in receiver.got}) == 1
