"""Decide what to tell: the first failure at once, a reminder a day as long as it lasts, and the recovery, each once."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Literal

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field

from tasks.engine.notify.message import Kind, Message, Severity, told
from tasks.engine.repository.names import taken_at
from tasks.engine.repository.newest import is_future

REMIND_AFTER = timedelta(days=1)


class Subject(StrEnum):
    """What can fail, and work again. Each is judged and remembered separately."""

    BACKUP = "backup"
    DRILL = "restore-drill"
    PRUNE = "prune"
    SERVICE = "service"
    OVERDUE = "overdue"
    UNPROVEN = "unproven"
    ANOMALY = "anomaly"
    COPIES = "copies"
    KEYS = "key-check"


@dataclass(frozen=True)
class Observation:
    """What was seen of a subject at a moment.

    A run is seen once, at its end; a condition (`lasting`), such as being overdue, is seen at every look. What is wrong for less
    than `grace` is not told. Services with different `flows` fail separately.
    If the `backup` is bad, that is over once that or a newer one is good. Each of several `parts` that are wrong is told.
    `good_at` is given where it has to be remembered when the subject was good. What still goes on is no failure of its own, and
    `counts` as none.
    """

    subject: Subject
    at: datetime
    bad: bool
    sentence: str = ""
    code: str = ""
    hint: str = ""
    severity: Severity = "error"
    lasting: bool = False
    grace: timedelta = timedelta(0)
    flows: str = ""
    backup: str = ""
    parts: frozenset[str] = frozenset()
    good_at: datetime | None = None
    counts: bool = True

    @property
    def key(self) -> str:
        """What it is remembered under."""
        return _key(self.subject, self.flows)


class Incident(BaseModel):
    """How a subject has been doing and what was told of it: a document that is written once, and replaced by the next.

    `reason` is what was wrong at first. `message` is what was told last, and `missing` names the channels that it has not reached. Until `sending_until`, leave
    that to whoever is sending it.
    """

    model_config = ConfigDict(frozen=True, extra="ignore")

    format: Literal[1] = 1
    subject: Subject
    open: bool
    severity: Severity = "error"
    since: AwareDatetime
    seen_at: AwareDatetime
    failures: int = Field(default=0, ge=0)
    told_at: AwareDatetime | None = None
    message: Message | None = None
    missing: tuple[str, ...] = ()
    sending_until: AwareDatetime | None = None
    backup: str = Field(default="", max_length=40)
    parts: tuple[str, ...] = ()
    reason: str = Field(default="", max_length=2000)
    good_at: AwareDatetime | None = None
    flows: str = Field(default="", pattern=r"^[a-z-]{0,30}$")

    @property
    def key(self) -> str:
        """What it is remembered under."""
        return _key(self.subject, self.flows)

    @property
    def explains_gaps(self) -> bool:
        """Whether there was no backup because of it: reports on a month want to know."""
        return bool(self.reason) and self.subject in (Subject.BACKUP, Subject.SERVICE)

    @property
    def order(self) -> tuple[datetime, datetime]:
        """The greater one is the newer one."""
        return self.seen_at, self.told_at or self.since


def _key(subject: Subject, flows: str) -> str:
    return f"{subject}-{flows}" if flows else str(subject)


@dataclass(frozen=True)
class Decision:
    """What to tell, if anything, and what to remember, if it differs from before."""

    tell: Kind | None = None
    incident: Incident | None = None


NOTHING = Decision()


def decide(before: Incident | None, seen: Observation, now: datetime) -> Decision:
    """Return what follows from an observation, given what is remembered of its subject."""
    if before and _is_old_news(before, seen, now):
        return remind(before, now)
    if not seen.bad:
        return _ends(before, seen, now) if before and before.open else _good(before, seen)
    if before and before.open:
        return _goes_on(before, seen, now)
    begun = Incident(
        subject=seen.subject,
        open=True,
        severity=seen.severity,
        since=seen.at,
        seen_at=seen.at,
        failures=not seen.lasting,
        flows=seen.flows,
        backup=seen.backup,
        parts=tuple(sorted(seen.parts)),
        reason=told(f"{seen.sentence} ({seen.code})" if seen.code else seen.sentence),
        good_at=before.good_at if before else None,
    )
    if seen.grace:
        return Decision(incident=begun)
    return _told("failed", begun, now)


def decisions(
    before: Mapping[str, Incident], seen: Iterable[Observation], reminded: Iterable[Subject], now: datetime
) -> Iterator[tuple[Decision, Observation | None]]:
    """Decide about all that was seen, and remind of the subjects that nothing was seen of.

    While backups fail, don't tell as well that they are overdue.
    """
    failing, looked_at = before.get(Subject.BACKUP), set[str]()
    for one in seen:
        looked_at.add(one.key)
        if one.subject is Subject.OVERDUE and one.bad and failing and failing.open:
            continue
        decision = decide(before.get(one.key), one, now)
        if one.subject is Subject.BACKUP:
            failing = decision.incident or failing
        yield decision, one
    for subject in sorted(set(reminded) - looked_at):
        if last := before.get(subject):
            yield remind(last, now), None


def remind(before: Incident, now: datetime) -> Decision:
    """Return the daily reminder of an incident that lasts, once it is due."""
    told_at = before.told_at
    if not before.open or told_at is None or (now - told_at < REMIND_AFTER and not is_future(told_at, now)):
        return NOTHING
    return _told("reminder", before, now)


def _is_old_news(before: Incident, seen: Observation, now: datetime) -> bool:
    """Whether this or something newer has been seen already, unless a wrong clock dated that."""
    known = seen.at < before.seen_at or (seen.bad and seen.at == before.seen_at)
    return known and not seen.lasting and not is_future(before.seen_at, now)


def _goes_on(before: Incident, seen: Observation, now: datetime) -> Decision:
    graver = before.severity == "warning" and seen.severity == "error"
    more = not seen.parts <= set(before.parts)
    after = before
    if seen.parts != set(before.parts):
        after = after.model_copy(update={"parts": tuple(sorted(seen.parts))})
    if not seen.lasting:
        after = after.model_copy(update={"seen_at": seen.at, "failures": before.failures + seen.counts})
    if graver or (seen.parts and seen.severity != before.severity):
        after = after.model_copy(update={"severity": seen.severity})
    if seen.backup > before.backup:
        after = after.model_copy(update={"backup": seen.backup})
    if before.told_at is None:
        if now - before.since >= seen.grace:
            return _told("failed", after, now)
    elif graver or more:
        return _told("failed", after, now)
    elif (due := remind(after, now)).tell:
        return due
    return Decision(incident=after) if after is not before else NOTHING


def _ends(before: Incident, seen: Observation, now: datetime) -> Decision:
    """An older backup that is good says nothing about the bad one, nor about those made since; names are in order of time."""
    failed_at = taken_at(before.backup)
    if failed_at and seen.backup < before.backup and not is_future(failed_at, now):
        return remind(before, now)
    after = before.model_copy(
        update={
            "open": False,
            "good_at": seen.good_at or before.good_at,
            "seen_at": seen.at,
            "message": None,
            "missing": (),
            "sending_until": None,
        }
    )
    return Decision("recovered" if before.told_at else None, after)


def _good(before: Incident | None, seen: Observation) -> Decision:
    if seen.good_at is None or (before and before.good_at and seen.good_at <= before.good_at):
        return NOTHING
    after = before or Incident(subject=seen.subject, open=False, since=seen.at, seen_at=seen.at)
    return Decision(incident=after.model_copy(update={"seen_at": seen.at, "good_at": seen.good_at}))


def _told(kind: Kind, incident: Incident, now: datetime) -> Decision:
    return Decision(kind, incident.model_copy(update={"told_at": now}))
