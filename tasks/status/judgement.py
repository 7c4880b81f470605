"""Judge whether backups are fine, from facts and rules only: this module never touches a bucket or a clock.

docs/status.md explains each rule to users.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from itertools import pairwise

from blocks.config.schedule import Schedule
from tasks.engine.repository.catalog import Backup
from tasks.engine.repository.facts import Drilled
from tasks.engine.repository.manifest import Verdict
from tasks.engine.repository.newest import (
    WHEN_FUTURE,
    is_future,
    last_drilled,
    newest_whole,
    of_the_past,
    told_of_future,
)
from tasks.engine.repository.omissions import without_in_brackets
from tasks.engine.repository.open_anomalies import OpenAnomalies
from tasks.engine.wording import human_age, human_seconds, visible
from tasks.status.health import overdue

_LONG_AGO = datetime.min.replace(tzinfo=UTC)
# How many of the newest gaps tell the rhythm of backups whose schedule is unknown.
_RHYTHM = 10
# Whoever gave up a folder so long ago knows it; until then, silence is reported.
RETIRED = timedelta(days=90)
_COMPARE = "restore an older one, and find out what is wrong with this one (docs/runbooks/failed-drill.md)"
_SHOWN = 200
_DRILL_IT = "pg-roundtrip drill"


class Colour(StrEnum):
    """How backups are, from best to worst."""

    FINE = "fine"
    ATTENTION = "attention"
    BAD = "bad"


_WORST = [Colour.BAD, Colour.ATTENTION, Colour.FINE]


def worst(colours: Sequence[Colour]) -> Colour:
    """Return the worst of some colours."""
    return next((colour for colour in _WORST if colour in colours), Colour.FINE)


@dataclass(frozen=True)
class Reason:
    """Why backups are not fine, and what to do about it."""

    colour: Colour
    text: str
    hint: str = ""


@dataclass(frozen=True)
class Facts:
    """What is known of the backups of one database: `backups` is oldest first, `drilled` by the backup's name.

    A schedule is None if it is another service's: then the backups are judged by their own rhythm. A container for
    drills knows only that of its drills; of another plan, neither is known. Of several places, one that is `copied` to
    from another is judged by what it lacks, for which there are `reasons`, and some are only `drilled_elsewhere`.
    """

    backups: Sequence[Backup]
    drilled: Mapping[str, Drilled] = field(default_factory=dict)
    backups_due: Schedule | None = None
    drills_due: Schedule | None = None
    shared: tuple[str, str] | None = None
    anomalies: Sequence[OpenAnomalies] = ()
    reasons: Sequence[Reason] = ()
    copied: bool = False
    drilled_elsewhere: bool = False

    def drill_of(self, backup: Backup) -> Drilled | None:
        """Return what the newest drill of a backup found."""
        found = self.drilled.get(backup.name)
        return found if found and found.backup == backup.name else None

    def drills(self, now: datetime) -> list[tuple[Backup, Drilled]]:
        """Return the drilled backups with their drills, oldest backup first; none from the future."""
        past = [(b, self.drill_of(b)) for b in of_the_past(self.backups, now)]
        return [(b, d) for b, d in past if d]

    def proof(self, now: datetime) -> tuple[Backup, Drilled] | None:
        """Return the newest PROVEN backup and its drill; one dated in the future shows nothing."""
        drills = reversed(self.drills(now))
        return next(((b, d) for b, d in drills if d.contents_hold and not _is_ahead(d.began_at, now)), None)


@dataclass(frozen=True)
class Judgement:
    """The colour of one plan's backups, its sentence, and all reasons, the worst first."""

    colour: Colour
    sentence: str
    reasons: tuple[Reason, ...] = ()
    retired: bool = False


def judge(facts: Facts, now: datetime) -> Judgement:
    """Judge the backups of one database."""
    newest = newest_whole(facts.backups, now)
    if facts.drills_due is None and not facts.copied and newest and _is_retired(facts, newest, now):
        return Judgement(Colour.FINE, f"Retired: last backup {ago(newest.taken_at, now)}", retired=True)
    reasons = sorted(_reasons(facts, newest, now), key=lambda r: _WORST.index(r.colour))
    colour = worst([r.colour for r in reasons])
    known = _known(facts, newest, now)
    said = [reasons[0].text, *known[1:]] if reasons else known
    return Judgement(colour, f"{colour.capitalize()}: {', '.join(said)}", tuple(reasons))


def _known(facts: Facts, newest: Backup | None, now: datetime) -> list[str]:
    """Say how old the newest backup and the newest proof are, and how long a restore takes."""
    known = [f"last backup {ago(newest.taken_at, now)}" if newest else "no backup"]
    if proof := facts.proof(now):
        _, drill = proof
        without = bounded(without_in_brackets(drill.without))
        known.append(f"PROVEN {ago(drill.began_at, now)}{without}" if drill.began_at else f"PROVEN{without}")
        if drill.restore_s:
            known.append(f"restore takes {_roughly(drill.restore_s)}")
    return known


def _reasons(facts: Facts, newest: Backup | None, now: datetime) -> Iterator[Reason]:
    """Yield why backups are not fine."""
    yield from (Reason(r.colour, bounded(r.text), bounded(r.hint)) for r in facts.reasons)
    if not facts.backups:
        hint = "pg-roundtrip copy" if facts.copied else "pg-roundtrip backup"
        yield Reason(Colour.ATTENTION if facts.copied else Colour.BAD, "there is no backup", hint)
        return
    yield from _when_late(facts, newest, now)
    yield from _when_drilled(facts, now)
    yield from _when_unproven(facts, now)
    yield from _when_odd(facts)
    if newest and (odd := told_of_future(facts.backups, now)):
        yield Reason(Colour.ATTENTION, odd, WHEN_FUTURE)
    if facts.shared:
        yield Reason(Colour.ATTENTION, *map(bounded, facts.shared))


def _when_late(facts: Facts, newest: Backup | None, now: datetime) -> Iterator[Reason]:
    if newest is None:
        yield Reason(Colour.BAD, told_of_future(facts.backups, now), WHEN_FUTURE)
    elif facts.backups_due:
        if late := overdue(newest.taken_at, facts.backups_due, _LONG_AGO, now):
            yield Reason(Colour.BAD, late, "pg-roundtrip check")
    elif not facts.copied and (gap := late_by_rhythm([b.taken_at for b in of_the_past(facts.backups, now)], now)):
        age = human_age(now - newest.taken_at)
        text = f"the newest backup is {age} old, and one came at least every {human_age(gap)}"
        yield Reason(Colour.ATTENTION, text, "find out whether the service that makes them still runs")


def _when_drilled(facts: Facts, now: datetime) -> Iterator[Reason]:
    """Judge the newest backup that was drilled, as later ones may have the same fault, and whether drills work."""
    drills = facts.drills(now)
    if not drills:
        return
    backup, drill = drills[-1]
    last = last_drilled(of_the_past(facts.backups, now), now)
    if drill.verdict is Verdict.FAILED and not drill.contents_hold:
        yield Reason(
            Colour.BAD,
            f"the newest drill FAILED: the backup of {backup.taken_at:%-d %b %H:%M} is not what was dumped",
            _COMPARE,
        )
    elif drill.verdict is Verdict.FAILED:
        yield Reason(Colour.ATTENTION, "the newest drill FAILED: its backup was too old", "see VERIFY_MAX_AGE")
    elif drill.verdict is Verdict.INCONCLUSIVE or (last and last.newest_report and not last.newest_report.conclusive):
        yield Reason(Colour.ATTENTION, "the newest drill was INCONCLUSIVE: it says nothing about its backup", _DRILL_IT)


def _when_unproven(facts: Facts, now: datetime) -> Iterator[Reason]:
    """Judge the newest proof: it must be younger than two intervals between drills."""
    proof = facts.proof(now)
    if proof is None and facts.drilled_elsewhere:
        return
    if proof is None:
        # What other tools made and nobody drills here is none of our business.
        if facts.backups_due or facts.drilled or any(not b.foreign for b in facts.backups):
            yield Reason(Colour.ATTENTION, "no backup is PROVEN yet", _DRILL_IT)
        return
    began_at = proof[1].began_at
    if began_at is None:
        return
    if facts.drills_due:
        gap = facts.drills_due.gap(now) if began_at < facts.drills_due.before(now, 2) else None
    else:
        gap = late_by_rhythm(
            [d.began_at for _, d in facts.drills(now) if d.began_at and not is_future(d.began_at, now)], now
        )
    if gap:
        text = f"nothing was PROVEN for {human_age(now - began_at)}, and a drill is due every {human_age(gap)}"
        yield Reason(Colour.ATTENTION, text, _DRILL_IT)


def _when_odd(facts: Facts) -> Iterator[Reason]:
    """Judge the newest backup with anomalies that nobody has acknowledged and later backups do not confirm."""
    for odd in facts.anomalies[:1]:
        said = f": {bounded(odd.found[0].sentence)}" if odd.found else ""
        text = f"the contents of the backup of {odd.backup.taken_at:%-d %b %H:%M} are unusual{said}"
        yield Reason(Colour.ATTENTION, text, f"if this is as it should be: pg-roundtrip acknowledge {odd.backup.name}")


def _is_ahead(moment: datetime | None, now: datetime) -> bool:
    return moment is not None and is_future(moment, now)


def late_by_rhythm(moments: Sequence[datetime], now: datetime) -> timedelta | None:
    """Return the longest of the last gaps if twice as much has passed since the last moment; None if not."""
    last = sorted(moments)[-_RHYTHM:]
    gap = max((later - earlier for earlier, later in pairwise(last)), default=None)
    return gap if gap and now - last[-1] > 2 * gap else None


def _is_retired(facts: Facts, newest: Backup, now: datetime) -> bool:
    moments = [b.taken_at for b in of_the_past(facts.backups, now)]
    return now - newest.taken_at > RETIRED and (len(moments) == 1 or late_by_rhythm(moments, now) is not None)


def ago(moment: datetime, now: datetime) -> str:
    """Return how long ago something was: `23 min ago`."""
    age = now - moment
    return "just now" if age < timedelta(minutes=1) else f"{human_age(age)} ago"


def bounded(text: str) -> str:
    """Return text from a bucket or a server, cut and with invisible characters escaped."""
    shown = visible(text)
    return shown if len(shown) <= _SHOWN else f"{shown[: _SHOWN - 1]}…"


def _roughly(seconds: float) -> str:
    return f"{seconds:.0f} s" if 10 <= seconds < 60 else human_seconds(seconds)
