"""What hangs, fails or surprises while a message is made costs neither the run nor the message."""

from __future__ import annotations

import asyncio
import itertools
import threading
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from pydantic import SecretStr

from blocks.config.plan import Plan
from blocks.config.settings import NotificationSettings
from blocks.config.values import FLOWS
from blocks.errors import ConfigurationError, DatabaseRefused, Problem, StorageDenied, StorageUnreachable
from flows.notify import check_channels
from flows.runs.telling import configured, telling
from flows.service.watch import Untold, keep_watch
from tasks import notify
from tasks.clock import utc_now
from tasks.engine.notify.channels import Channels
from tasks.engine.notify.facts import Facts, observations
from tasks.engine.notify.incidents import Incident, Observation, Subject, decisions
from tasks.engine.notify.ledger import ledger_of
from tasks.engine.repository.manifest import DrillReport, Verdict
from tasks.outcome import Outcome, failed
from tests.memory_store import MemoryStore
from tests.receivers import Receiver, receiving

NOW = datetime(2026, 11, 21, 12, tzinfo=UTC)
FAILED: Outcome[Any] = failed("backup", "default", DatabaseRefused("db:5432"))
GOOD: Outcome[Any] = Outcome("backup", "default", "Backup completed")
_numbers = itertools.count()


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with receiving() as made:
        yield made


class HangingStore(MemoryStore):
    """A bucket that never answers."""

    def list_objects(self, *_: object, **__: object) -> Any:
        threading.Event().wait(60)

    def put(self, *_: object, **__: object) -> None:
        threading.Event().wait(60)


def plan_in(store: MemoryStore, **fields: Any) -> Plan:
    """Return a plan with a folder of its own."""
    store.bucket, store.seal_key = f"memory-{next(_numbers)}", b"key"
    return Plan("default", store, **fields)  # type: ignore[arg-type]


def settings(receiver: Receiver, **more: Any) -> NotificationSettings:
    return NotificationSettings(webhook_url=SecretStr(receiver.url), **more)


def test_a_bucket_that_hangs(receiver: Receiver, monkeypatch: pytest.MonkeyPatch) -> None:
    """The message is sent without it, and is remembered on this machine."""
    monkeypatch.setattr(notify, "_BUCKET_S", 0.2)
    plan = plan_in(HangingStore())
    for _ in range(2):
        notify.tell_end(settings(receiver), FAILED, plan)
    assert receiver.kinds() == [("backup", "failed")]
    assert "can't be read" in receiver.got[0].json()["means"]


def test_a_bucket_that_is_known_to_be_down(receiver: Receiver) -> None:
    """It isn't even asked: that would take as long as the run already waited for it."""
    plan = plan_in(HangingStore())
    for _ in range(2):
        notify.tell_end(settings(receiver), failed("backup", "default", StorageUnreachable("s3")), plan)
    assert receiver.kinds() == [("backup", "failed")]


def test_only_pings_need_no_memory(receiver: Receiver) -> None:
    """Nobody is told of incidents, so nothing is asked or written."""
    store = MemoryStore()
    only = NotificationSettings(ping_url=SecretStr(receiver.url))
    notify.tell_end(only, FAILED, plan_in(store))
    notify.look(only, plan_in(store), ("backup",))
    assert (store.calls, receiver.got) == ([], [])


def test_a_ping_that_hangs(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever hangs below, such as looking up a name, costs the run no more than a ping's time."""
    monkeypatch.setattr(notify, "_PING_S", -0.9)
    monkeypatch.setattr("blocks.http.send", lambda *_: threading.Event().wait(60))
    assert notify.send_ping(SecretStr("https://hc-ping.com/1"), "success", "run") == "no answer in time"


def test_a_surprise_is_told_and_stays_one(receiver: Receiver, monkeypatch: pytest.MonkeyPatch) -> None:
    """An exception of ours or nobody's leaves the run as it was raised, whatever happens to the message."""
    monkeypatch.setenv("WEBHOOK_URL", receiver.url)
    monkeypatch.setattr("flows.runs.telling.resolve_plan", lambda *_: plan_in(MemoryStore()))

    def backup(plan: str = "default") -> None:
        with telling(backup, (), {"plan": plan}):
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        backup()
    assert receiver.got[0].json()["what"] == "Something went wrong [ZeroDivisionError]"
    monkeypatch.setattr(notify, "tell_end", lambda *_: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        backup()


def test_an_invalid_channel_is_told_by_the_others(
    receiver: Receiver, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """The log warns of it, and every message says so; what it may contain of a secret is nowhere."""
    monkeypatch.setenv("NOTIFY_URLS", "mailto:s3cret@example.com")
    monkeypatch.setenv("WEBHOOK_URL", receiver.url)
    with caplog.at_level("WARNING", "pg_roundtrip"):
        found = configured()
    assert found
    notify.tell_end(found, FAILED, plan_in(MemoryStore()))
    assert receiver.got[0].json()["means"].endswith("There is no backup. Invalid, so left out: NOTIFY_URLS.")
    assert "Messages go without it: Invalid NOTIFY_URLS format" in caplog.text
    assert "s3cret" not in caplog.text
    results = [(f.name, f.result) for f in check_channels()]
    assert results == [("notify", "error"), ("notify by webhook", "ok")]


def test_plans_that_share_a_folder(receiver: Receiver) -> None:
    """All are called `default`; what is told of one says nothing of another."""
    whose = {ledger_of("default", plan_in(MemoryStore(), shared=True, backups_of=of)).whose for of in ("a", "b", None)}
    assert len(whose) == 3
    assert ledger_of("default", plan_in(MemoryStore())).whose == "default"


def test_no_two_messages_for_one_thing() -> None:
    """While backups fail, that they are overdue is no news; reminders come once a day, also of what no look sees."""
    failing = Incident(subject=Subject.BACKUP, open=True, since=NOW, seen_at=NOW, failures=1, told_at=NOW)
    pruning = failing.model_copy(update={"subject": Subject.PRUNE})
    late = Observation(Subject.OVERDUE, NOW, bad=True, lasting=True)
    known: dict[str, Incident] = {Subject.BACKUP: failing, Subject.PRUNE: pruning}
    found = list(decisions(known, [late], [Subject.BACKUP, Subject.PRUNE], NOW + timedelta(days=1)))
    assert [(d.incident and d.incident.subject, d.tell) for d, _ in found] == [
        ("backup", "reminder"),
        ("prune", "reminder"),
    ]
    assert [d.tell for d, _ in decisions({}, [late], [], NOW)] == ["failed"]


def test_anomalies_have_their_place() -> None:
    """Whatever finds them only has to name them."""
    plan = plan_in(MemoryStore())
    seen = {
        o.subject: o
        for o in observations(Facts(anomalies=("a", "b")), plan.schedules, timedelta(days=2), ("backup",), NOW)
    }
    assert (seen[Subject.ANOMALY].sentence, seen[Subject.ANOMALY].severity, seen[Subject.ANOMALY].bad) == (
        "a; b",
        "warning",
        True,
    )


def test_a_check_of_the_channels_that_fails(receiver: Receiver, monkeypatch: pytest.MonkeyPatch) -> None:
    """The service goes on, and looks."""
    monkeypatch.setenv("WEBHOOK_URL", receiver.url)
    monkeypatch.setattr(notify, "faults_of_channels", lambda *_: 1 / 0)
    looked = threading.Event()
    monkeypatch.setattr(notify, "look", lambda *_, **__: looked.set())

    async def watch_once() -> None:
        watching = asyncio.create_task(keep_watch(plan_in(MemoryStore()), ("backup",), Untold()))
        await asyncio.to_thread(looked.wait, 10)
        watching.cancel()

    asyncio.run(watch_once())
    assert looked.is_set()


def test_a_channel_that_stays_broken() -> None:
    """It is tried ever more seldom, up to once an hour, and is well again with the first message that it takes."""
    now = [0.0]
    untold = Untold(lambda: now[0])
    waits = []
    for _ in range(9):
        untold.heard({"slack"}, {"slack": "HTTP status 404"})
        begun = now[0]
        while untold.waiting():
            now[0] += 30
        waits.append(now[0] - begun)
    assert waits == [60, 120, 240, 480, 960, 1920, 3600, 3600, 3600]
    assert str(untold).endswith(": HTTP status 404")
    untold.heard(set(), {})
    assert (str(untold), untold.channels, untold.waiting()) == ("", [], set())
    untold.wrong = ("NOTIFY_URLS",)
    assert (str(untold), untold.channels, untold.waiting()) == ("NOTIFY_URLS is invalid", ["NOTIFY_URLS"], set())


def at(monkeypatch: pytest.MonkeyPatch, hour: int) -> None:
    monkeypatch.setattr("tasks.notify.utc_now", lambda: NOW + timedelta(hours=hour))


def test_a_look_while_a_run_tells(receiver: Receiver, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is being sent is not sent by others as well, unless whoever was sending it was killed."""
    plan, others, send = plan_in(MemoryStore()), [0, 120], Channels.send

    def meanwhile(*args: Any) -> Any:
        if others:
            later = timedelta(seconds=others.pop(0))
            monkeypatch.setattr("tasks.notify.utc_now", lambda: utc_now() + later)
            notify.look(settings(receiver), plan, ("backup",))
        return send(*args)

    monkeypatch.setattr(Channels, "send", meanwhile)
    notify.tell_end(settings(receiver), FAILED, plan)
    assert (receiver.kinds(), others) == ([("backup", "failed")], [120])
    notify.tell_end(settings(receiver), GOOD, plan)
    assert receiver.kinds()[1:] == [("backup", "recovered")] * 2
    assert len({got.headers["Idempotency-Key"] for got in receiver.got}) == 2


def test_a_service_that_does_not_start(receiver: Receiver, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is told once, however often it is started and whoever else looks, and over once that service runs."""
    plan = plan_in(MemoryStore())
    broken: Outcome[Any] = failed("serve", "default", ConfigurationError([Problem("DATABASE_URL", "set it")]))
    monkeypatch.setenv("SERVE_FLOWS", "backup, prune")
    for _ in range(3):
        notify.tell_end(settings(receiver), broken, plan)
        notify.look(settings(receiver), plan, ("restore-drill",), serves=True)
        notify.look(settings(receiver), plan, FLOWS)
    assert receiver.kinds() == [("service", "failed")]
    notify.look(settings(receiver), plan, ("backup", "prune"), serves=True)
    assert receiver.kinds() == [("service", "failed"), ("service", "recovered")]


def test_each_outage_of_the_storage_is_told(receiver: Receiver, monkeypatch: pytest.MonkeyPatch) -> None:
    """A good backup between two outages ends the first, so the second is told, though the bucket can't be asked."""
    plan = plan_in(MemoryStore())
    down: Outcome[Any] = failed("backup", "default", StorageUnreachable("s3"))
    for hour, outcome in enumerate((down, GOOD, down)):
        at(monkeypatch, hour)
        notify.tell_end(settings(receiver), outcome, plan)
    assert receiver.kinds() == [("backup", kind) for kind in ("failed", "recovered", "failed")]


def test_each_failure_of_the_configuration_is_told(receiver: Receiver, monkeypatch: pytest.MonkeyPatch) -> None:
    """What was told without a plan is known once there is one: its end is told, and so is the next failure."""
    plan = plan_in(MemoryStore())
    wrong: Outcome[Any] = failed("backup", "wrong", ConfigurationError([Problem("S3_BUCKET", "set it")]))
    good = replace(GOOD, plan="wrong")
    for hour, (outcome, found) in enumerate([(wrong, None), (wrong, None), (good, plan), (wrong, None), (wrong, None)]):
        at(monkeypatch, hour)
        notify.tell_end(settings(receiver), outcome, found)
    assert receiver.kinds() == [("backup", kind) for kind in ("failed", "recovered", "failed")]


class ReadOnlyStore(MemoryStore):
    """A bucket whose keys may only read."""

    def put(self, key: str, *_: object, **__: object) -> None:
        raise StorageDenied(key)


def test_looks_that_can_write_nowhere(receiver: Receiver, monkeypatch: pytest.MonkeyPatch) -> None:
    """What this process told is not repeated at each look, and grace ends, though nothing can be kept."""
    monkeypatch.setenv("XDG_CACHE_HOME", "/proc/nowhere")
    store = ReadOnlyStore()
    plan = plan_in(store)
    store.seal_key = b""
    gap = plan.schedules.backups.gap(NOW)
    for after in (timedelta(0), gap, gap + timedelta(minutes=1), gap + timedelta(minutes=2)):
        monkeypatch.setattr("tasks.notify.utc_now", lambda after=after: NOW + after)
        notify.look(settings(receiver), plan, ("backup",))
    assert receiver.kinds() == [("overdue", "failed")]


def test_a_drill_whose_key_can_only_read(receiver: Receiver, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its report is not in the bucket, but its proof counts for as long as others do, and is then told with its age."""
    plan = plan_in(ReadOnlyStore())
    gap = plan.schedules.drills.gap(NOW)
    report = DrillReport(
        tool_version="1", backup="backup_20261121_060000", verdict=Verdict.PROVEN, cause="", checks=(), started_at=NOW,
        restore_seconds=1, seconds=1,
    )  # fmt: skip
    drill: Outcome[Any] = Outcome("restore-drill", "default", "PROVEN", report, verdict=Verdict.PROVEN)
    at(monkeypatch, 0)
    notify.look(settings(receiver), plan, ("restore-drill",))
    notify.tell_end(settings(receiver), drill, plan)
    for after in (gap, 2 * gap, 2 * gap + timedelta(minutes=1), 2 * gap + timedelta(minutes=30)):
        assert receiver.kinds() == []
        monkeypatch.setattr("tasks.notify.utc_now", lambda after=after: NOW + after)
        notify.look(settings(receiver), plan, ("restore-drill",))
    assert receiver.kinds() == [("unproven", "failed")]
    assert receiver.got[0].json()["what"].startswith("No drill has proven a backup for ")


def test_services_with_channels_of_their_own(receiver: Receiver, monkeypatch: pytest.MonkeyPatch) -> None:
    """What one could not send is not lost because another, without that channel, looks first; after two days it is given up."""
    plan, other = plan_in(MemoryStore()), NotificationSettings(notify_urls=SecretStr("json://127.0.0.1:1/nobody"))
    at(monkeypatch, 0)
    receiver.always = 403
    notify.tell_end(settings(receiver), FAILED, plan)
    receiver.always = None
    notify.look(other, plan, ("backup",))
    assert notify.look(settings(receiver), plan, ("backup",)).messages == 1
    receiver.always = 403
    notify.tell_end(settings(receiver), GOOD, plan)
    receiver.always, before = None, len(receiver.got)
    for looker, hour in ((other, 72), (settings(receiver), 0)):
        at(monkeypatch, hour)
        notify.look(looker, plan, ())
    assert len(receiver.got) == before
