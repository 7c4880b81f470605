"""Tell people how a run ended and how a plan is doing; nothing here raises, because no message may cost a backup."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from functools import cache, cached_property, partial
from typing import Any

from pydantic import SecretStr

from blocks import http
from blocks.config import DEFAULT
from blocks.config.environment import variable
from blocks.config.plan import Plan
from blocks.config.settings import NotificationSettings
from blocks.errors import NotDelivered, StorageError
from blocks.stores import whereabouts
from tasks.clock import utc_now
from tasks.engine.deadline import result_within
from tasks.engine.notify.channels import Channels, Results
from tasks.engine.notify.delivery import begun, ended, in_hand
from tasks.engine.notify.ends import RUNS, failed_parts, of_drills_with, of_report, of_started, which_service
from tasks.engine.notify.facts import Facts, observations, of_anomalies, read_facts, reminded, unproven_limit
from tasks.engine.notify.incidents import Incident, Observation, Subject, decisions
from tasks.engine.notify.ledger import ledger_of
from tasks.engine.notify.message import Message
from tasks.engine.notify.ping import End, ping
from tasks.engine.notify.wording import Writer
from tasks.orchestration import get_run_logger
from tasks.outcome import Outcome

# A run waits so long for its messages, and for the bucket to say what was told. The next look makes up for the rest.
_SEND_S, _BUCKET_S, _LOOK_S, _PING_S = 15.0, 5.0, 25.0, 10.0


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
    if not outcome.good and outcome.verb not in RUNS:
        error = outcome.error
        teller.say(
            teller.writer().of_run(
                "failed", outcome.verb, outcome.sentence, code=outcome.code, hint=error.hint if error else ""
            )
        )
    elif outcome.good:
        teller.say(Writer(outcome.plan, teller.place, teller.now).of_run("succeeded", outcome.verb, outcome.sentence))
    if outcome.verb in RUNS and teller.has_listeners:
        teller.judge(_seen_in(outcome, teller))
    return teller.told


def _seen_in(outcome: Outcome[Any], teller: _Teller) -> Iterator[Observation]:
    several = teller.of_several
    if outcome.report and not outcome.error:
        report, now = outcome.report, teller.now
        yield from of_drills_with(report, teller.facts(), now) if teller.drills_apart else of_report(report, now)
    else:
        parts = failed_parts(outcome.plan, outcome.facts, teller.now) if several and outcome.error else frozenset()
        hint = outcome.error.hint if outcome.error else ""
        flows = which_service(re.findall("[a-z-]+", variable("SERVE_FLOWS"))) if outcome.verb == "serve" else ""
        subject = RUNS[outcome.verb]
        yield Observation(
            subject, teller.now, not outcome.good, outcome.sentence, outcome.code, hint, flows=flows, parts=parts
        )
    # Of a whole server, other databases may have backups.
    if outcome.verb == "backup" and (outcome.good or several) and (facts := teller.facts()):
        yield of_anomalies(facts, teller.now)


def look(
    settings: NotificationSettings,
    plan: Plan,
    flows: Collection[str],
    skip: Collection[str] = (),
    *,
    serves: bool = False,
) -> Told:
    """Look at a plan's bucket, tell what is wrong or works again, and send what could not be sent before.

    `flows` are those that whoever looks answers for; channels to `skip` are not tried again yet. Only a
    service that has started (`serves`) shows that it does.
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
    limit = unproven_limit(plan, facts, settings.notify_unproven_after_s, teller.now)
    teller.facts = lambda: facts
    seen = observations(facts, plan.schedules, limit, flows, teller.now, teller.known)
    teller.judge([*seen, *([of_started(flows, teller.now)] if serves else [])], reminded(flows), skip)
    return teller.told


class _Teller:
    """Decide, send and remember for one plan."""

    def __init__(
        self, settings: NotificationSettings, name: str, plan: Plan | None, *, asks_bucket: bool = True
    ) -> None:
        self.now, self.told, self._name = utc_now(), Told(), name
        self._channels, self._wrong = Channels.of(settings), settings.wrong
        self._ledger = ledger_of(name, plan, asks_bucket=asks_bucket)
        self.place = whereabouts(plan.storage) if plan else ""
        self.facts: Callable[[], Facts | None] = cache(partial(_facts_of, plan if asks_bucket else None, self.now))
        self.of_several = bool(plan and plan.databases)
        self.drills_apart = bool(plan and (plan.databases or plan.copies))
        self._sent_s = 0.0

    @property
    def has_listeners(self) -> bool:
        """Whether anybody is told of incidents: some only have pings."""
        return bool(self._channels.names("failed"))

    @property
    def remembers(self) -> bool:
        """Whether what is told is remembered."""
        return self._ledger.kept

    @cached_property
    def known(self) -> Mapping[str, Incident]:
        """What was told before."""
        return self._ledger.read_within(_BUCKET_S)

    def writer(self) -> Writer:
        """Return what writes messages, with the facts that they name."""
        return Writer(self._name, self.place, self.now, self.facts(), self._wrong)

    def say(self, message: Message) -> None:
        """Send a message that is not remembered."""
        self._send(message, self._channels.names(message.kind))

    def judge(self, seen: Iterable[Observation], reminded: Iterable[Subject] = (), skip: Collection[str] = ()) -> None:
        """Tell what follows from observations, and what is still to be told."""
        before = self.known
        changed, new = dict[str, Incident](), set[str]()
        for decision, one in decisions(before, seen, reminded, self.now):
            after = decision.incident
            if after is None:
                continue
            if decision.tell:
                last = before.get(after.key)
                message = self.writer().of_incident(decision.tell, after, one, last.message if last else None)
                after = begun(after, message, self._channels.names(decision.tell), self.now)
                new.add(after.key)
            changed[after.key] = after
        if new:
            self._ledger.write_within(_BUCKET_S, changed.values(), self.now)
        for key, after in {**before, **changed}.items():
            if key in new or not in_hand(after, self.now):
                changed |= self._reached(after, () if key in new else skip)
        for after in {**before, **changed}.values():
            self.told.missing |= set(after.missing)
        if changed:
            self._ledger.write_within(_BUCKET_S, changed.values(), self.now)

    def _reached(self, incident: Incident, skip: Collection[str]) -> Mapping[str, Incident]:
        """Send what channels have not got; returns the incident if that changed it."""
        if not incident.message or not incident.missing:
            return {}
        ours = self._channels.names(incident.message.kind)
        wanted = set(incident.missing) & set(ours)
        failed = self._send(incident.message, wanted - set(skip)) | (wanted & set(skip))
        after = ended(incident, ours, failed, self.now)
        return {after.key: after} if after != incident else {}

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
