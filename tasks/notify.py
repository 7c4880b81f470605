"""Tell people how a run ended and how a plan is doing; nothing here raises, because no message may cost a backup."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from functools import cache, partial
from typing import Any, TypeVar

from pydantic import SecretStr

from blocks import http
from blocks.config import DEFAULT
from blocks.config.environment import cache_folder
from blocks.config.plan import Plan
from blocks.config.settings import NotificationSettings
from blocks.errors import NotDelivered, PgRoundtripError, StorageError
from tasks.clock import utc_now
from tasks.engine.deadline import within
from tasks.engine.notify.channels import Channels, Results
from tasks.engine.notify.facts import Facts, observations, of_drill, read_facts
from tasks.engine.notify.incidents import Decision, Incident, Observation, Subject, decide, remind
from tasks.engine.notify.ledger import Ledger
from tasks.engine.notify.message import Message
from tasks.engine.notify.ping import End, ping
from tasks.engine.notify.wording import Writer
from tasks.engine.repository.cache_file import CacheFile, cache_file_of
from tasks.engine.repository.manifest import DrillReport
from tasks.orchestration import get_run_logger
from tasks.outcome import Outcome

T = TypeVar("T")
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
        teller.judge([_seen(outcome, teller.now)])
    return teller.told


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
        facts = _in_time(lambda: read_facts(plan, teller.now), None, _LOOK_S)
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
        self._channels = Channels.of(settings)
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
        return Writer(self._name, self.place, self.now, self.facts())

    def say(self, message: Message) -> None:
        """Send a message that is not remembered."""
        self._send(message, self._channels.names(message.kind))

    def judge(self, seen: Iterable[Observation], reminded: Iterable[Subject] = (), skip: Collection[str] = ()) -> None:
        """Tell what follows from observations, and what is still to be told."""
        before = _in_time(self._ledger.read, dict[Subject, Incident](), _BUCKET_S)
        changed: dict[Subject, Incident] = {}
        for decision, one in self._decisions(before, seen, reminded):
            assert decision.incident
            after = decision.incident
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
            _in_time(lambda: self._ledger.write(changed.values(), self.now), False, _BUCKET_S)

    def _decisions(
        self, before: Mapping[Subject, Incident], seen: Iterable[Observation], reminded: Iterable[Subject]
    ) -> Iterator[tuple[Decision, Observation | None]]:
        """Yield what there is to tell or to remember; a failed backup says already that no backup is made."""
        failing = before.get(Subject.BACKUP)
        looked_at = set[Subject]()
        for one in seen:
            looked_at.add(one.subject)
            if one.subject is Subject.OVERDUE and one.bad and failing and failing.open:
                continue
            decision = decide(before.get(one.subject), one, self.now)
            if decision.incident:
                failing = decision.incident if one.subject is Subject.BACKUP else failing
                yield decision, one
        for subject in set(reminded) - looked_at:
            last = before.get(subject)
            if last and (decision := remind(last, self.now)).incident:
                yield decision, None

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
        return _in_time(lambda: read_facts(plan, now), None, _BUCKET_S)
    except PgRoundtripError:
        return None


def _in_time(do: Callable[[], T], otherwise: T, seconds: float) -> T:
    """Return a result, or something else if it takes too long: a bucket that does not answer holds up no message."""
    found: list[T] = []
    errors: list[Exception] = []

    def work() -> None:
        try:
            found.append(do())
        except Exception as error:  # noqa: BLE001  (raised below, in the thread that asked)
            errors.append(error)

    within(seconds, work)
    if errors:
        raise errors[0]
    return found[0] if found else otherwise


def ledger_of(name: str, plan: Plan | None, *, asks_bucket: bool = True) -> Ledger:
    """Return where it is remembered what was told of a plan."""
    if plan is None:
        folder = cache_folder()
        return Ledger(name, None, CacheFile(folder / f"notices-{name}", b"no storage") if folder else None)
    whose = name
    if plan.shared:  # plans of several machines are all called `default`
        of = plan.backups_of or (plan.server.database if plan.server else "")
        whose += "-" + hashlib.sha256(of.encode()).hexdigest()[:8]
    file = cache_file_of(plan.storage)
    here = CacheFile(file.path.with_name(f"{file.path.name}-notices-{whose}"), file.key) if file else None
    return Ledger(whose, plan.storage if asks_bucket or not here else None, here)


def try_channels(settings: NotificationSettings, nonce: str) -> Results:
    """Send a test to each channel; returns why it did not arrive, by name, empty where it did."""
    channels, now = Channels.of(settings), utc_now()
    message = Writer(DEFAULT, "", now).test(nonce)
    return channels.send(message, channels.names("test"), now, _SEND_S) | {
        name: send_ping(url, "log", nonce, [message.what]) for name, url in _pinged(settings)
    }


def send_ping(url: SecretStr, end: End, run: str, log: Sequence[str] = ()) -> str:
    """Send a ping; returns why it was not heard, empty if it was."""
    try:
        http.send(ping(url, end, run, log), _PING_S)
    except NotDelivered as error:
        return error.context
    return ""


def _pinged(settings: NotificationSettings) -> Iterator[tuple[str, SecretStr]]:
    named = {"ping": settings.ping_url, "ping of drills": settings.verify_ping_url}
    return ((name, url) for name, url in named.items() if url)


def faults_of_channels(settings: NotificationSettings) -> Results:
    """Return what is wrong with each channel without sending anything, by name, empty where nothing is."""
    now = utc_now()
    found = Channels.of(settings).faults(Writer(DEFAULT, "", now).test(""), now)
    return found | {name: "" for name, _ in _pinged(settings)}
