"""People hear of a failure at once, of one that lasts once a day, and of a recovery once, and never more than that."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tasks.engine.notify.facts import Drill, Facts, of_anomalies, of_drill
from tasks.engine.notify.incidents import Incident, Observation, Subject, decide, remind
from tasks.engine.notify.message import Kind
from tasks.engine.repository.manifest import Verdict

BEGIN = datetime(2026, 11, 21, tzinfo=UTC)
DAY = timedelta(days=1)
# Minutes from one run to the next, and whether it failed.
HISTORIES = st.lists(st.tuples(st.integers(1, 2000), st.booleans()), max_size=60)


def restarted(incident: Incident | None) -> Incident | None:
    """Return what a process that starts over reads."""
    return Incident.model_validate_json(incident.model_dump_json(by_alias=True)) if incident else None


def told_of(
    history: list[tuple[int, bool]], *, restarts: bool = False, lasting: bool = False
) -> list[tuple[datetime, Kind]]:
    """Return what is told, and when, of a history of runs."""
    now, known, told = BEGIN, None, list[tuple[datetime, Kind]]()
    for minutes, bad in history:
        now += timedelta(minutes=minutes)
        known = restarted(known) if restarts else known
        decision = decide(known, Observation(Subject.BACKUP, now, bad, lasting=lasting), now)
        known = decision.incident or known
        told += [(now, decision.tell)] if decision.tell else []
    return told


@given(HISTORIES)
def test_each_sequence_of_failures(history: list[tuple[int, bool]]) -> None:
    """Told at once, at most once a day while it lasts, and its end once."""
    told, now, since, last = dict(told_of(history)), BEGIN, None, BEGIN
    for minutes, bad in history:
        now += timedelta(minutes=minutes)
        kind = told.pop(now, None)
        if bad and since is None:
            assert kind == "failed"
        elif bad:
            assert kind == ("reminder" if now - last >= DAY else None)
        else:
            assert kind == ("recovered" if since else None)
        since = (since or now) if bad else None
        last = now if kind else last
    assert told == {}


@given(HISTORIES, st.booleans())
def test_a_restart_changes_nothing(history: list[tuple[int, bool]], lasting: bool) -> None:
    """What is stored is all that is needed."""
    assert told_of(history, restarts=True, lasting=lasting) == told_of(history, lasting=lasting)


@given(HISTORIES)
def test_what_was_seen_already_is_no_news(history: list[tuple[int, bool]]) -> None:
    """Looks at what the bucket shows of runs that told of themselves add nothing but reminders."""
    now, known = BEGIN, None
    for minutes, bad in history:
        now += timedelta(minutes=minutes)
        known = decide(known, Observation(Subject.DRILL, now, bad), now).incident or known
        for at in (now, now - timedelta(minutes=1)):
            again = decide(known, Observation(Subject.DRILL, at, bad), now)
            assert again.tell is None
            assert again.incident is None


def test_the_end_is_made_up_for() -> None:
    """A run that was killed before it told anything is told of by the next look, with how many failures there were."""
    failed = decide(None, Observation(Subject.BACKUP, BEGIN, bad=True), BEGIN).incident
    again = decide(
        failed, Observation(Subject.BACKUP, BEGIN + timedelta(hours=1), bad=True), BEGIN + timedelta(hours=1)
    )
    assert (again.tell, again.incident and again.incident.failures) == (None, 2)
    later = BEGIN + timedelta(hours=5)
    over = decide(again.incident, Observation(Subject.BACKUP, later - timedelta(hours=2), bad=False), later)
    assert over.tell == "recovered"
    assert over.incident
    assert (over.incident.open, over.incident.since, over.incident.failures) == (False, BEGIN, 2)


def test_a_clock_that_is_a_little_behind() -> None:
    """Machines' clocks differ: what another one told a second ahead of now needs no reminder."""
    failed = decide(None, Observation(Subject.BACKUP, BEGIN, bad=True), BEGIN).incident
    assert failed
    assert remind(failed, BEGIN - timedelta(seconds=1)).tell is None
    assert remind(failed, BEGIN - DAY).tell == "reminder"


def test_a_good_run_before_the_failure_ends_nothing() -> None:
    """The newest backup in the bucket is older than the failure: that is no recovery, only time for a reminder."""
    failed = decide(None, Observation(Subject.BACKUP, BEGIN, bad=True), BEGIN).incident
    before = Observation(Subject.BACKUP, BEGIN - timedelta(hours=1), bad=False)
    assert decide(failed, before, BEGIN + timedelta(hours=1)).tell is None
    assert decide(failed, before, BEGIN + DAY).tell == "reminder"
    assert failed
    assert remind(failed, BEGIN + DAY).tell == "reminder"


def test_a_condition_has_grace() -> None:
    """What is wrong for a moment, as after a start, is not told, and neither is its end; what lasts is told once."""

    def seen(minutes: int, *, bad: bool) -> Observation:
        at = BEGIN + timedelta(minutes=minutes)
        return Observation(Subject.OVERDUE, at, bad, lasting=True, grace=timedelta(minutes=15))

    first = decide(None, seen(0, bad=True), BEGIN)
    assert (first.tell, first.incident is not None) == (None, True)
    assert decide(first.incident, seen(5, bad=True), BEGIN + timedelta(minutes=5)).incident is None
    assert decide(first.incident, seen(9, bad=False), BEGIN + timedelta(minutes=9)).tell is None
    assert decide(first.incident, seen(15, bad=True), BEGIN + timedelta(minutes=15)).tell == "failed"


def test_what_gets_worse_is_told_at_once() -> None:
    """A backup that could not be drilled, and then turns out to be bad, is news."""
    unknown = decide(None, Observation(Subject.DRILL, BEGIN, bad=True, severity="warning"), BEGIN)
    later = BEGIN + timedelta(hours=1)
    bad = decide(unknown.incident, Observation(Subject.DRILL, later, bad=True, severity="error"), later)
    assert (unknown.tell, bad.tell) == ("failed", "failed")
    assert bad.incident
    assert bad.incident.since == BEGIN
    again = Observation(Subject.DRILL, later + timedelta(hours=1), bad=True, severity="warning")
    assert decide(bad.incident, again, again.at).tell is None


def test_a_clock_that_was_wrong_silences_nothing() -> None:
    """What was told in the future does not keep the present from being told."""
    ahead = BEGIN + timedelta(days=900)
    failed = decide(None, Observation(Subject.BACKUP, ahead, bad=True), ahead).incident
    assert decide(failed, Observation(Subject.BACKUP, BEGIN, bad=True), BEGIN).tell == "reminder"
    assert decide(failed, Observation(Subject.BACKUP, BEGIN, bad=False), BEGIN).tell == "recovered"


def drilled(backup: str, verdict: Verdict, hours: int) -> Observation:
    return of_drill(Drill(backup, verdict, verdict is Verdict.PROVEN, BEGIN + timedelta(hours=hours), "", ""))


OLDER, BAD, NEWER = "backup_20261118_030000", "backup_20261120_030000", "backup_20261121_060000"


@pytest.mark.parametrize(("backup", "kind"), [(OLDER, None), (BAD, "recovered"), (NEWER, "recovered")])
def test_an_older_backup_that_is_proven_ends_no_failure(backup: str, kind: Kind | None) -> None:
    """The bad backup's fault may be in all since: only that one or a newer one shows that it is gone."""
    failed = decide(None, drilled(BAD, Verdict.FAILED, 0), BEGIN).incident
    unknown = decide(failed, drilled(NEWER, Verdict.INCONCLUSIVE, 1), BEGIN).incident
    assert decide(restarted(unknown), drilled(backup, Verdict.PROVEN, 9), BEGIN + timedelta(hours=9)).tell == kind
    assert decide(unknown, drilled(OLDER, Verdict.PROVEN, 25), BEGIN + timedelta(hours=25)).tell == "reminder"


def test_what_ends_a_drill_that_says_nothing() -> None:
    """An INCONCLUSIVE drill says nothing of its backup, so any proof shows that drills work again; so it is if a clock was wrong."""
    for backup, verdict in ((BAD, Verdict.INCONCLUSIVE), ("backup_20300101_000000", Verdict.FAILED)):
        before = decide(None, drilled(backup, verdict, 0), BEGIN).incident
        assert decide(before, drilled(OLDER, Verdict.PROVEN, 1), BEGIN + timedelta(hours=1)).tell == "recovered"


def odd(*tables: str) -> Observation:
    return of_anomalies(Facts(anomalies=tables, odd=frozenset(tables)), BEGIN)


def test_an_anomaly_beside_others() -> None:
    """Each is told at once, also while another is open; the same one in the next backup, or one that is settled, is no news."""
    known, told = None, list[Kind | None]()
    for seen in (odd("a"), odd("a"), odd("a", "b"), odd("b", "a"), odd("b"), odd("b", "a"), odd(), odd("a")):
        decision = decide(restarted(known), seen, BEGIN)
        known = decision.incident or known
        told.append(decision.tell)
    assert told == ["failed", None, "failed", None, None, "failed", "recovered", "failed"]


def test_when_it_was_good_is_remembered() -> None:
    """Also while nothing is wrong, and through an incident; what is known already is not written again."""
    good = Observation(Subject.UNPROVEN, BEGIN, bad=False, lasting=True, good_at=BEGIN)
    first = decide(None, good, BEGIN)
    assert (first.tell, first.incident and first.incident.good_at) == (None, BEGIN)
    assert decide(restarted(first.incident), good, BEGIN + DAY).incident is None
    late = decide(first.incident, Observation(Subject.UNPROVEN, BEGIN + DAY, bad=True, lasting=True), BEGIN + DAY)
    assert (late.tell, late.incident and late.incident.good_at) == ("failed", BEGIN)
    over = decide(
        late.incident, Observation(Subject.UNPROVEN, BEGIN + 2 * DAY, bad=False, lasting=True), BEGIN + 2 * DAY
    )
    assert (over.tell, over.incident and over.incident.good_at) == ("recovered", BEGIN)
