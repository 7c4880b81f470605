"""People are told of what fails and of what works again, and a channel that fails costs no backup."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from datetime import timedelta
from typing import Any

import pytest
from pydantic import SecretStr

from blocks.config.plan import Plan
from blocks.config.settings import NotificationSettings
from blocks.errors import ConfigurationError
from blocks.s3.client import ObjectStore
from blocks.sql.server import Server
from flows.watch import WatchResult, watch
from tasks.clock import utc_now
from tasks.engine.notify.incidents import Incident, Subject
from tasks.engine.notify.ledger import Ledger
from tasks.engine.repository.names import name_at
from tasks.engine.servers.programs import Client
from tasks.notify import look
from tests.conftest import Ended, FlowRun, NewDatabase, StartedCommand
from tests.integration.objects import LIBRARY, take_backup, until
from tests.markdown import ROOT
from tests.receivers import Receiver, receiving

Run = Callable[..., Ended]


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    """A webhook on loopback."""
    with receiving() as made:
        yield made


@pytest.fixture
def library(new_database: NewDatabase) -> Server:
    """A small database."""
    return new_database(16, LIBRARY)


@pytest.fixture
def plan(plan_for: Callable[..., Plan], library: Server) -> Plan:
    """The plan that the commands of a test describe."""
    return plan_for(library)


def wrong(server: Server) -> str:
    """Return the server's URL with a password that it refuses."""
    password = str(server.parameters()["password"])
    return server.url.get_secret_value().replace(password, "s3cret-and-wrong")


def settings(receiver: Receiver) -> NotificationSettings:
    return NotificationSettings(webhook_url=SecretStr(receiver.url))


def notices(storage: ObjectStore) -> list[str]:
    """Return what is remembered in the bucket."""
    return [found.key.rpartition("/")[2] for found in storage.list_objects(beginning="notices/default/")]


def test_a_failure_is_told_once_and_so_is_its_end(
    receiver: Receiver, library: Server, storage: ObjectStore, command_line: Run
) -> None:
    """A wrong password: told at once, not again the same day, and then that backups work again, and how many failed."""
    for _ in range(2):
        ended = command_line("backup", DATABASE_URL=wrong(library), WEBHOOK_URL=receiver.url)
        assert ended.status == 1, ended.err
        assert receiver.kinds() == [("backup", "failed")]
    assert command_line("backup", server=library, WEBHOOK_URL=receiver.url).status == 0
    assert receiver.kinds() == [("backup", "failed"), ("backup", "recovered")]
    failed, over = (got.json() for got in receiver.got)
    assert (failed["code"], failed["next"], failed["means"].endswith("There is no backup.")) == (
        "PGR-DB-REFUSED", "pg-roundtrip check", True,
    )  # fmt: skip
    assert (over["failures"], over["since"], over["newest_backup"]["name"][:7]) == (2, failed["since"], "backup_")
    assert "s3cret-and-wrong" not in str(receiver.got)
    # One entry each: older ones are removed where that is allowed.
    assert [name.partition("_")[0] for name in notices(storage)] == ["backup"]


def test_every_success_for_those_who_want_it(receiver: Receiver, library: Server, command_line: Run) -> None:
    """With WEBHOOK_ON_SUCCESS each run that succeeds is posted, a nested prune too, but no dry run."""
    ended = command_line("backup", server=library, WEBHOOK_URL=receiver.url, WEBHOOK_ON_SUCCESS="true")
    assert ended.status == 0
    assert receiver.kinds() == [("prune", "succeeded"), ("backup", "succeeded")]
    assert command_line("prune", "--dry-run", WEBHOOK_URL=receiver.url, WEBHOOK_ON_SUCCESS="true").status == 0
    assert len({got.headers["Idempotency-Key"] for got in receiver.got}) == 2


def test_a_run_without_channels_asks_and_loads_nothing(
    library: Server, storage: ObjectStore, command_line: Run
) -> None:
    """Nobody pays for messages that nobody gets."""
    ended = command_line("backup", server=library, PYTHONPROFILEIMPORTTIME="1")
    assert ended.status == 0
    loaded = {line.rpartition("|")[2].strip().partition(".")[0] for line in ended.err.splitlines()}
    assert not loaded & {"httpx", "jinja2", "apprise"}
    assert notices(storage) == []


def test_what_is_told_when_the_storage_is_down(
    receiver: Receiver, library: Server, storage: ObjectStore, command_line: Run
) -> None:
    """The bucket can't say what was told then; a file on this machine does, and the bucket's turn comes when it is back."""
    for _ in range(2):
        ended = command_line(
            "backup", server=library, WEBHOOK_URL=receiver.url, S3_BUCKET="no-such-bucket", BACKUP_PREFIX=storage.folder
        )
        assert ended.status == 1
    assert receiver.kinds() == [("backup", "failed")]
    assert "can't be read" in receiver.got[0].json()["means"]


def test_a_configuration_that_no_longer_works(receiver: Receiver, library: Server, command_line: Run) -> None:
    """A command that can't even begin tells so, once."""
    for _ in range(2):
        ended = command_line(
            "backup", server=library, WEBHOOK_URL=receiver.url, S3_SECRET_ACCESS_KEY="", COMPRESSION_LEVEL="eleven"
        )
        assert ended.status == 2
    assert receiver.kinds() == [("backup", "failed")]
    assert receiver.got[0].json()["code"] == "PGR-CONFIG"
    assert command_line("backup", server=library, WEBHOOK_URL=receiver.url).status == 0


def test_a_channel_that_fails_costs_no_backup(
    receiver: Receiver, plan: Plan, library: Server, storage: ObjectStore, command_line: Run
) -> None:
    """What could not be sent is in the log, and the next look sends it, with the same id."""
    receiver.always = 403
    broken = "http://127.0.0.1:1/nobody"
    ended = command_line("backup", DATABASE_URL=wrong(library), WEBHOOK_URL=receiver.url, PING_URL=broken)
    assert ended.status == 1
    assert "WARNING: Not told by webhook: Backup failed (default) [HTTP status 403]" in ended.err
    assert "WARNING: The ping was not heard: Connection refused" in ended.err
    receiver.always = None
    told = look(settings(receiver), plan, ("backup",))
    assert (told.messages, told.failed, told.missing) == (1, {}, set())
    assert receiver.kinds() == [("backup", "failed")] * 2
    assert len({got.headers["Idempotency-Key"] for got in receiver.got}) == 1
    look(settings(receiver), plan, ("backup",))
    assert len(receiver.got) == 2
    assert len(notices(storage)) == 1


def test_a_run_killed_before_its_message(
    receiver: Receiver, plan: Plan, library: Server, command_line: Run, started_command: StartedCommand,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    """The next look after a minute makes up for the message, with the id that it would have had."""
    command_line("backup", DATABASE_URL=wrong(library), WEBHOOK_URL=receiver.url)
    receiver.always = "hang"
    running = started_command("backup", DATABASE_URL=library.url.get_secret_value(), WEBHOOK_URL=receiver.url)
    until(lambda: len(receiver.got) == 2)
    running.kill()
    running.wait()
    receiver.always = None
    monkeypatch.setattr("tasks.notify.utc_now", lambda: utc_now() + timedelta(minutes=2))
    look(settings(receiver), plan, ("backup",))
    assert receiver.kinds() == [("backup", "failed"), ("backup", "recovered"), ("backup", "recovered")]
    assert receiver.got[1].json()["id"] == receiver.got[2].json()["id"]


def test_a_drill(
    receiver: Receiver, plan: Plan, library: Server, storage: ObjectStore, clients: dict[int, Client], command_line: Run
) -> None:
    """A bad backup's drill is told as FAILED, and a look finds nothing new in its report; then one that is PROVEN."""
    name = name_at(utc_now() - timedelta(hours=3))
    take_backup(storage, library, clients[16], name)
    key = storage.key(f"{name}.sql.gz")
    whole = storage.get(key)
    storage.put(key, whole[:-40])
    ended = command_line("drill", server=library, WEBHOOK_URL=receiver.url, VERIFY_TARGET="database")
    assert ended.status == 1
    look(settings(receiver), plan, ("backup", "restore-drill"))
    storage.put(key, whole)
    ended = command_line("drill", server=library, WEBHOOK_URL=receiver.url, VERIFY_TARGET="database")
    assert ended.status == 0
    look(settings(receiver), plan, ("backup", "restore-drill"))
    assert receiver.kinds() == [("restore-drill", "failed"), ("restore-drill", "recovered")]
    failed, proven = (got.json() for got in receiver.got)
    assert failed["title"] == "Drill FAILED (default)"
    assert (failed["newest_proven"], proven["newest_proven"]["name"]) == (None, name)


def test_what_did_not_happen(receiver: Receiver, plan: Plan, storage: ObjectStore, library: Server, clients: dict[int, Client], monkeypatch: pytest.MonkeyPatch) -> None:  # fmt: skip
    """Backups that stopped and drills that prove nothing are told after their grace, and a lost volume repeats nothing."""
    take_backup(storage, library, clients[16], name_at(utc_now() - timedelta(hours=30)))
    both = ("backup", "restore-drill")
    look(settings(receiver), plan, both)
    assert receiver.kinds() == []
    now = utc_now()
    for hours in (1, 2, 25, 50):
        monkeypatch.setattr("tasks.notify.utc_now", lambda hours=hours: now + timedelta(hours=hours))
        monkeypatch.setenv("XDG_CACHE_HOME", f"/nowhere/{hours}")
        look(settings(receiver), plan, both)
    assert receiver.kinds() == [
        ("overdue", "failed"),
        ("overdue", "reminder"),
        ("overdue", "reminder"),
        ("unproven", "failed"),
    ]
    assert "is 31 h old, and one is due every 60 min" in receiver.got[0].json()["what"]
    assert receiver.got[0].json()["next"] == "pg-roundtrip backup"


def test_ping(receiver: Receiver, library: Server, command_line: Run) -> None:
    """healthchecks.io's protocol: start, then success or failure, of one run, with the end of the log."""
    ping = {"PING_URL": receiver.url.replace("/hook", "/ping/some-uuid")}
    assert command_line("backup", server=library, **ping).status == 0
    assert command_line("backup", DATABASE_URL=wrong(library), **ping).status == 1
    until(lambda: len(receiver.got) == 4)
    begun, done, again, failed = receiver.got
    assert receiver.paths() == [
        "/ping/some-uuid/start",
        "/ping/some-uuid",
        "/ping/some-uuid/start",
        "/ping/some-uuid/fail",
    ]
    runs = [got.path.partition("?rid=")[2] for got in receiver.got]
    assert runs[0] == runs[1] != runs[2] == runs[3]
    assert b"INFO: Backup completed successfully" in done.body
    assert b"ERROR: " in failed.body
    assert (begun.body, again.body) == (b"", b"")


def test_restores_are_told_each_time(receiver: Receiver, library: Server, command_line: Run) -> None:
    """Nothing repeats a restore, so each one that fails is told, and nothing is remembered of it."""
    for _ in range(2):
        ended = command_line(
            "restore", "latest", RESTORE_DATABASE_URL=library.url.get_secret_value(), WEBHOOK_URL=receiver.url
        )
        assert ended.status == 1
    assert receiver.kinds() == [("restore", "failed")] * 2


def test_recorded_runs_tell_the_same(receiver: Receiver, library: Server, command_line: Run, prefect_api: str) -> None:
    """Under Prefect the same is told, and none of the addresses reaches its server."""
    token = "t0ken-in-an-address"
    given = {"WEBHOOK_URL": f"{receiver.url}?key={token}", "PING_URL": f"{receiver.url}/ping-{token}"}
    assert command_line("backup", DATABASE_URL=wrong(library), **given).status == 1
    ended = command_line("backup", server=library, **given)
    assert ended.status == 0, ended.err
    posted = [got.json() for got in receiver.got if "/ping" not in got.path]
    assert [found["kind"] for found in posted] == ["failed", "recovered"]
    pings = [got for got in receiver.got if "/ping" in got.path]
    assert sorted(got.path.partition("?")[0].rpartition("/")[2] for got in pings) == sorted(
        ["start", "fail", "start", f"ping-{token}"]
    )
    assert b"INFO: Backup completed successfully" in pings[-1].body
    assert token not in ended.err + ended.out
    assert json.dumps(posted).count(token) == 0


def test_the_documented_verification(receiver: Receiver, library: Server, command_line: Run) -> None:
    """What docs/notifications.md offers verifies what is posted, and nothing else."""
    (code,) = re.findall(
        r"^```python\n(.*?)^```", (ROOT / "docs" / "notifications.md").read_text(), re.DOTALL | re.MULTILINE
    )
    found: dict[str, Any] = {}
    exec(code, found)  # noqa: S102  (as readers do)
    for secret in ("whsec_C2FVsBQIhrscChlQIMV+b5sSYspob7oD", "correct horse"):
        command_line("notify", "--test", WEBHOOK_URL=receiver.url, WEBHOOK_SECRET=secret)
        got = receiver.got[-1]
        assert found["is_genuine"](secret, got.headers, got.body)
        assert not found["is_genuine"](secret, got.headers, got.body + b" ")
        assert not found["is_genuine"]("another", got.headers, got.body)
        late = {**got.headers, "webhook-timestamp": str(int(got.headers["webhook-timestamp"]) + 1)}
        assert not found["is_genuine"](secret, late, got.body)


def test_the_watch_of_workers(
    receiver: Receiver, plan: Plan, storage: ObjectStore, library: Server, clients: dict[int, Client], flow_run: FlowRun, prefect_api: str
) -> None:  # fmt: skip
    """The flow that workers run tells what a service would; without a channel it does nothing, and says so."""
    take_backup(storage, library, clients[16], name_at(utc_now() - timedelta(hours=30)))
    since = utc_now() - timedelta(hours=1)
    first = Incident(subject=Subject.OVERDUE, open=True, since=since, seen_at=since)
    Ledger("default", storage).write([first], since)
    assert flow_run(watch, library).result == WatchResult(messages=0, failed=[])
    environ = {"WEBHOOK_URL": receiver.url}
    assert flow_run(watch, library, environ=environ).result == WatchResult(messages=1, failed=[])
    assert flow_run(watch, library, environ=environ).result == WatchResult(messages=0, failed=[])
    several = flow_run(watch, library, environ=environ, plan="all-of-pool", plans=("not-there", "default"))
    assert several.result == WatchResult(messages=0, failed=[])
    nothing = flow_run(watch, library, environ=environ, plan="all-of-pool", plans=("not-there", "nor-this"))
    assert isinstance(nothing.error, ConfigurationError)
    assert receiver.kinds() == [("overdue", "failed")]
