"""Tell people how a run ended and how a plan is doing; nothing here raises, because no message may cost a backup."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from functools import cache, partial
from typing import Any

from pydantic import SecretStr

from blocks import http
from blocks.config import DEFAULT
from blocks.config.plan import Plan
from blocks.config.settings import NotificationSettings
from blocks.errors import NotDelivered, StorageError
from tasks.clock import utc_now
from tasks.engine.deadline import result_within
from tasks.engine.notify.channels import Channels, Results
from tasks.engine.notify.facts import Facts, observations, of_anomalies, of_drill, read_facts
from tasks.engine.notify.incidents import Incident, Observation, Subject, decisions
from tasks.engine.notify.ledger import ledger_of
from tasks.engine.notify.message import Message
from tasks.engine.notify.ping import End, ping
from tasks.engine.notify.wording import Writer
from tasks.engine.repository.manifest import DrillReport
from tasks.orchestration import get_run_logger
from tasks.outcome import Outcome

# A run waits so long for its messages, and for the bucket to say what was told. The next look makes up for the rest.
_SEND_S, _BUCKET_S, _LOOK_S, _PING_S = 15.0, 5.0, 25.0, 10.0
_RUNS = {"backup": Subject.BACKUP, "restore-drill": Subject.DRILL, "prune": Subject.PRUNE, "serve": Subject.SERVICE}
# Whoever makes backups answers for these, too, though no look sees them.
_REMINDED = {"backup": (Subject.BACKUP, Subject.PRUNE), "restore-drill": (Subject.DRILL,)}


@dataclass
class Told:
    """How many messages arrived somewhere, why others did not, by channel, and the channels that still lack one."""

    messages: int = 0
    failed: dict[str, str] = field(default_factory=dict)
    missing: set[str] = field(default_factory=set)


def tell_end(settings: NotificationSettings, outcome: Outcome[Any], plan: Plan | None) -> Told:
    """Tell what the end of a run changes; `plan` is None if it can't be found, which is why the run failed."""
    teller = _Teller(settings, outcome.plan, plan, asks_bucket=not isinstance(outcome.error, StorageError))
    if outcome.verb == "serve" and not teller.remembers:
        return teller.told  # a service that can't start is started again and again
    if not outcome.good and outcome.verb not in _RUNS:
        error = outcome.error
        teller.say(
            teller.writer().of_run(
                "failed", outcome.verb, outcome.sentence, code=outcome.code, hint=error.hint if error else ""
            )
        )
    elif outcome.good:
        teller.say(Writer(outcome.plan, teller.place, teller.now).of_run("succeeded", outcome.verb, outcome.sentence))
    if outcome.verb in _RUNS and teller.has_listeners:
        teller.judge(_seen_in(outcome, teller))
    return teller.told


def _seen_in(outcome: Outcome[Any], teller: _Teller) -> Iterator[Observation]:
    yield _seen(outcome, teller.now)
    if outcome.verb == "backup" and outcome.good and (facts := teller.facts()):
        yield of_anomalies(facts, teller.now)


def _seen(outcome: Outcome[Any], now: datetime) -> Observation:
    if isinstance(outcome.facts, DrillReport):
        return of_drill(outcome.facts)
    error = outcome.error
    return Observation(
        _RUNS[outcome.verb], now, not outcome.good, outcome.sentence, outcome.code, error.hint if error else ""
    )


def look(settings: NotificationSettings, plan: Plan, flows: Collection[str], skip: Collection[str] = ()) -> Told:
    """Look at a plan's bucket, tell what is wrong or works again, and send what could not be sent before.

    `flows` are those that whoever looks answers for; channels to `skip` are not tried again yet.
    """
    teller = _Teller(settings, plan.name, plan)
    if not teller.has_listeners:
        return teller.told
    try:
        facts = result_within(_LOOK_S, lambda: read_facts(plan, teller.now))
    except StorageError as error:
        get_run_logger().warning("The bucket could not be looked at: %s", error.sentence)
        return teller.told
    if facts is None:
        get_run_logger().warning("The bucket could not be looked at: it does not answer")
        return teller.told
    given_s = settings.notify_unproven_after_s
    limit = 2 * plan.schedules.drills.gap(teller.now) if given_s is None else timedelta(seconds=given_s)
    teller.facts = lambda: facts
    reminded = [subject for flow in flows for subject in _REMINDED.get(flow, ())]
    teller.judge(observations(facts, plan.schedules, limit, flows, teller.now), reminded, skip)
    return teller.told


class _Teller:
    """Decide, send and remember for one plan."""

    def __init__(
        self, settings: NotificationSettings, name: str, plan: Plan | None, *, asks_bucket: bool = True
    ) -> None:
        self.now, self.told, self._name = utc_now(), Told(), name
        self._channels, self._wrong = Channels.of(settings), settings.wrong
        self._ledger = ledger_of(name, plan, asks_bucket=asks_bucket)
        self.place = f"{plan.storage.endpoint} {plan.storage.address}" if plan else ""
        self.facts: Callable[[], Facts | None] = cache(partial(_facts_of, plan if asks_bucket else None, self.now))
        self._sent_s = 0.0

    @property
    def has_listeners(self) -> bool:
        """Whether anybody is told of incidents: some only have pings."""
        return bool(self._channels.names("failed"))

    @property
    def remembers(self) -> bool:
        """Whether what is told is remembered."""
        return self._ledger.kept

    def writer(self) -> Writer:
        """Return what writes messages, with the facts that they name."""
        return Writer(self._name, self.place, self.now, self.facts(), self._wrong)

    def say(self, message: Message) -> None:
        """Send a message that is not remembered."""
        self._send(message, self._channels.names(message.kind))

    def judge(self, seen: Iterable[Observation], reminded: Iterable[Subject] = (), skip: Collection[str] = ()) -> None:
        """Tell what follows from observations, and what is still to be told."""
        before = self._remembered()
        changed: dict[Subject, Incident] = {}
        for decision, one in decisions(before, seen, reminded, self.now):
            after = decision.incident
            if after is None:
                continue
            if decision.tell:
                last = before.get(after.subject)
                message = self.writer().of_incident(decision.tell, after, one, last.message if last else None)
                after = after.model_copy(update={"message": message, "missing": self._channels.names(decision.tell)})
            changed[after.subject] = after
        for subject, after in {**before, **changed}.items():
            if reached := self._reach(after, skip if subject not in changed else ()):
                changed[subject] = reached
        for after in {**before, **changed}.values():
            self.told.missing |= set(after.missing)
        if changed:
            self._remember(changed.values())

    def _remembered(self) -> Mapping[Subject, Incident]:
        """Read what was told; go without a bucket that hangs."""
        found = result_within(_BUCKET_S, self._ledger.read)
        if found is None:
            self._ledger.store = None
            return self._ledger.read()
        return found

    def _remember(self, told: Collection[Incident]) -> None:
        if result_within(_BUCKET_S, lambda: self._ledger.write(told, self.now)) is None:
            self._ledger.store = None
            self._ledger.write(told, self.now)

    def _reach(self, incident: Incident, skip: Collection[str]) -> Incident | None:
        """Send what channels have not got; returns the incident if any of them has it now, or is gone."""
        if not incident.message or not incident.missing:
            return None
        wanted = set(incident.missing) & set(self._channels.names(incident.message.kind))
        failed = self._send(incident.message, wanted - set(skip)) | (wanted & set(skip))
        return (
            incident.model_copy(update={"missing": tuple(sorted(failed))}) if failed != set(incident.missing) else None
        )

    def _send(self, message: Message, to: Collection[str]) -> set[str]:
        """Send to channels; returns the names of those that it did not reach."""
        begun, left_s = time.monotonic(), _SEND_S - self._sent_s
        if not to or left_s < 1:
            return set(to)
        results = self._channels.send(message, to, self.now, left_s)
        self._sent_s += time.monotonic() - begun
        failed = {name: why for name, why in results.items() if why}
        self.told.messages += len(failed) < len(results)
        self.told.failed |= failed
        for name, why in failed.items():
            get_run_logger().warning(
                "Not told by %s: %s [%s]\nHINT: pg-roundtrip notify --test tries each channel", name, message.title, why
            )
        return set(failed)


def _facts_of(plan: Plan | None, now: datetime) -> Facts | None:
    """Read what a message says of the bucket; None if that can't be read."""
    if plan is None:
        return None
    try:
        return result_within(_BUCKET_S, lambda: read_facts(plan, now))
    except Exception:  # noqa: BLE001  (nothing in a bucket may keep a message from being sent)
        return None


def try_channels(settings: NotificationSettings, nonce: str) -> Results:
    """Send a test to each channel; returns why it did not arrive, by name, empty where it did."""
    channels, now = Channels.of(settings), utc_now()
    message = Writer(DEFAULT, "", now).test(nonce)
    return channels.send(message, channels.names("test"), now, _SEND_S) | {
        name: send_ping(url, "log", nonce, [message.what]) for name, url in _pinged(settings)
    }


def send_ping(url: SecretStr, end: End, run: str, log: Sequence[str] = ()) -> str:
    """Send a ping; returns why it was not heard, empty if it was."""

    def sent() -> bool:
        http.send(ping(url, end, run, log), _PING_S)
        return True

    try:
        return "" if result_within(_PING_S + 1, sent) else "no answer in time"
    except NotDelivered as error:
        return error.context


def _pinged(settings: NotificationSettings) -> Iterator[tuple[str, SecretStr]]:
    named = {"ping": settings.ping_url, "ping of drills": settings.verify_ping_url}
    return ((name, url) for name, url in named.items() if url)


def faults_of_channels(settings: NotificationSettings) -> Results:
    """Return what is wrong with each channel without sending anything, by name, empty where nothing is."""
    now = utc_now()
    found = Channels.of(settings).faults(Writer(DEFAULT, "", now).test(""), now)
    return found | {name: "" for name, _ in _pinged(settings)}
