"""A whole server is as well as the worst of its databases, and each that goes wrong is told, whatever is told already."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import SecretStr

from blocks.config.databases import read_databases
from blocks.config.settings import NotificationSettings
from blocks.errors import DatabaseRefused, SetIncomplete
from tasks import notify
from tasks.engine.notify.ends import failed_parts, of_drills_with
from tasks.engine.notify.facts import (
    Drill,
    Facts,
    observations,
    of_anomalies,
    of_drill,
    of_drills,
    together,
    unproven_limit,
)
from tasks.engine.notify.incidents import Incident, Observation, Subject, decide
from tasks.engine.notify.message import Kind
from tasks.engine.notify.several import combined
from tasks.engine.notify.wording import Writer
from tasks.engine.repository.manifest import Verdict
from tasks.engine.repository.set_results import DatabaseDrilled, Failure, SetBackedUp, SetDrilled
from tasks.outcome import Outcome, failed
from tests.memory_store import MemoryStore
from tests.plans import plan_of
from tests.receivers import receiving
from tests.unit.test_catalog import report
from tests.unit.test_notify import plan_in
from tests.unit.test_whole_servers import PLAN, STORE, backup_at

NOON = datetime(2026, 11, 21, 12, tzinfo=UTC)
DAY = timedelta(days=1)
FAILED, UNKNOWN, PROVEN = Verdict.FAILED, Verdict.INCONCLUSIVE, Verdict.PROVEN
OLDER, NEWER = "backup_20261120_030000", "backup_20261121_030000"
EMPTY = SetBackedUp(set="set_20261121_120000", counted="", done=0, failed=(), databases=(), left_alone=())


def drill(verdict: Verdict, day: int, backup: str = NEWER) -> Drill:
    return Drill(backup, verdict, verdict is PROVEN, NOON + day * DAY, "", "")


def server(**parts: Facts) -> Facts:
    return together({f"default/{name}": part for name, part in parts.items()}, proves_each=True)


def drilled(**parts: Drill) -> Facts:
    return server(**{n: Facts(drill=d, failed=d if d.verdict is FAILED else None) for n, d in parts.items()})


def told_of(seen: Iterable[Observation]) -> list[Kind | None]:
    """Return what is told of each observation."""
    known, told = None, list[Kind | None]()
    for one in seen:
        decision = decide(known, one, max(one.at, NOON))
        known = decision.incident or known
        told.append(decision.tell)
    return told


def test_one_database_that_fails_does_not_flap() -> None:
    """Whatever the next one's drill finds, it is told once, reminded of, and over when that database is PROVEN."""
    bad = drill(UNKNOWN, 0)
    history = [drilled(a=bad), *(drilled(a=bad, b=drill(PROVEN, day)) for day in (1, 2)), drilled(a=drill(PROVEN, 3))]
    seen = [one for facts in history for one in of_drills(facts) * 2]
    assert list(filter(None, told_of(seen))) == ["failed", "reminder", "reminder", "recovered"]
    assert seen[3].sentence.startswith(f"default/a: {NEWER} is INCONCLUSIVE")


def test_drills_of_others_are_no_failures() -> None:
    """How many failed is how many drills did."""
    known: Incident | None = None
    for facts in (drilled(a=drill(FAILED, 0)), drilled(a=drill(FAILED, 0), b=drill(PROVEN, 1))):
        (seen,) = of_drills(facts)
        known = decide(known, seen, seen.at).incident or known
    assert known
    assert (known.failures, known.seen_at) == (1, NOON + DAY)


def test_a_second_database_is_told_at_once() -> None:
    """Also if the first is still open, and one that turns from INCONCLUSIVE to FAILED; the worst is named first."""
    history = [
        drilled(a=drill(FAILED, 0)),
        drilled(a=drill(FAILED, 0), b=drill(UNKNOWN, 0)),
        drilled(a=drill(FAILED, 0), b=drill(FAILED, 0)),
    ]
    seen = [replace(of_drills(facts)[0], at=NOON + timedelta(hours=n)) for n, facts in enumerate(history)]
    assert told_of(seen) == ["failed"] * 3
    assert (seen[1].severity, seen[1].sentence.index("FAILED") < seen[1].sentence.index("INCONCLUSIVE")) == (
        "error",
        True,
    )


def test_an_older_backup_that_is_proven_ends_nothing() -> None:
    """As with one database: what FAILED is over with the same backup or a newer one."""
    held = Facts(drill=drill(PROVEN, 1, OLDER), failed=drill(FAILED, 0))
    (seen,) = of_drills(server(a=held, b=Facts(drill=drill(PROVEN, 1))))
    assert (seen.bad, seen.at) == (True, NOON + DAY)


def test_the_end_of_a_drill() -> None:
    """It shows the others' drills, too; if its key can't store it, only itself; a slow bucket shows nothing good."""
    good = report(NEWER)
    known = drilled(a=drill(FAILED, 0), b=drill(PROVEN, 1))
    assert [one.bad for one in of_drills_with(good, known, NOON)] == [True]
    assert [one.subject for one in of_drills_with(good, drilled(), NOON)] == [Subject.DRILL, Subject.UNPROVEN]
    assert list(of_drills_with(good, None, NOON)) == []
    assert [one.bad for one in of_drills_with(report(NEWER, FAILED), None, NOON)] == [True]


def unproven(facts: Facts, limit: timedelta) -> Observation:
    seen = observations(facts, PLAN.schedules, limit, ("restore-drill",), NOON)
    return next(one for one in seen if one.subject is Subject.UNPROVEN)


def test_each_database_is_to_be_proven() -> None:
    """In turn each has as many intervals as there are databases; where only the newest is drilled, any counts."""
    never = Facts(drill=drill(UNKNOWN, -1))
    late = Facts(drill=drill(PROVEN, -5), proved_at=NOON - 5 * DAY)
    fine = Facts(drill=drill(PROVEN, 0), proved_at=NOON)
    limit = unproven_limit(PLAN, server(a=late, b=fine), None, NOON)
    assert (limit, unproven_limit(PLAN, server(a=late), 60, NOON)) == (4 * DAY, timedelta(minutes=1))
    seen = unproven(server(a=late, b=fine, c=never), limit)
    assert seen.sentence == (
        "default/a: No drill has proven a backup for 5 days; default/c: No drill has proven a backup"
    )
    assert len(seen.parts) == 2  # a new database has time, and is no news beside another
    assert not unproven(replace(server(a=late, b=fine), proves_each=False), limit).bad
    for which in ("all", "newest"):
        one = plan_of(STORE, databases="*", verify_databases=which)
        assert unproven_limit(one, server(a=late, b=fine), None, NOON) == 2 * DAY


def test_the_same_anomaly_of_another_database() -> None:
    """Tenants with the same tables are told apart, and how many more there are is said."""
    lost = Facts(anomalies=("public.t lost its rows",), odd=frozenset({"1"}))
    seen = [of_anomalies(server(a=lost), NOON), of_anomalies(server(a=lost, b=lost), NOON)]
    assert told_of(seen) == ["failed", "failed"]
    assert seen[1].sentence == "default/a: public.t lost its rows; default/b: public.t lost its rows"
    many = of_anomalies(server(**{f"t{n}": lost for n in range(8)}), NOON)
    assert many.sentence.endswith("; and 3 more databases")


def test_a_second_database_whose_backup_fails() -> None:
    """It is told at once, and so is a run that can back up none."""

    def seen_at(minute: int, *databases: str) -> Observation:
        failures = tuple(Failure(database=name, reason="", code="") for name in databases)
        facts = EMPTY.model_copy(update={"failed": failures}) if failures else None
        at = NOON + timedelta(minutes=minute)
        return Observation(Subject.BACKUP, at, bad=True, parts=failed_parts("default", facts, at))

    history = [seen_at(minute, *names) for minute, names in enumerate(["a", "a", "ab", "b", ""])]
    assert told_of(history) == ["failed", None, "failed", None, "failed"]


def test_anomalies_of_those_that_were_backed_up(monkeypatch: pytest.MonkeyPatch) -> None:
    """They are told at the end of the run, though another database failed."""
    lost = server(a=Facts(anomalies=("public.t lost its rows",), odd=frozenset({"1"})), b=Facts())
    monkeypatch.setattr(notify, "read_facts", lambda *_: lost)
    facts = EMPTY.model_copy(update={"failed": (Failure(database="b", reason="", code=""),)})
    ended: Outcome[Any] = failed("backup", "default", SetIncomplete("b", facts=facts))
    with receiving() as receiver:
        whom = NotificationSettings(webhook_url=SecretStr(receiver.url))
        notify.tell_end(whom, ended, plan_in(MemoryStore(), databases=read_databases("*")))
        assert receiver.kinds() == [("backup", "failed"), ("anomaly", "failed")]
        notify.tell_end(whom, failed("backup", "default", DatabaseRefused("h")), plan_in(MemoryStore()))
        assert receiver.kinds()[2:] == [("backup", "failed")]


def test_runs_and_looks_name_the_same_parts() -> None:
    """What a drill of all told is no news to the next look at the bucket."""
    ran = SetDrilled(drills=(DatabaseDrilled(plan="default/a", database="a", report=report(NEWER, FAILED)),))
    (seen,) = of_drills(drilled(a=drill(FAILED, 0)))
    assert failed_parts("default", ran, NOON) == seen.parts


def test_which_database_has_no_backup() -> None:
    """A message about a server does not say that there is none if only one lacks it."""
    known = server(a=Facts(newest=backup_at(1)), crm=Facts())
    seen = {one.subject: one for one in observations(known, PLAN.schedules, DAY, ("backup",), NOON)}
    assert seen[Subject.OVERDUE].sentence.startswith("default/crm: There is no backup, and")
    incident = Incident(subject=Subject.BACKUP, open=True, since=NOON, seen_at=NOON)
    said = Writer("default", "", NOON, known).of_incident("failed", incident, None, None).means
    assert said.endswith("There is no backup of default/crm.")


@given(st.dictionaries(st.text(), st.tuples(st.booleans(), st.integers(0, 99)), min_size=1))
def test_a_server_is_as_well_as_the_worst(parts: dict[str, tuple[bool, int]]) -> None:
    """Bad if any is, as of the newest, with what tells each bad one apart; and the order says nothing."""
    seen = {
        n: Observation(Subject.DRILL, NOON + timedelta(hours=h), bad, severity="warning")
        for n, (bad, h) in parts.items()
    }
    found = combined(seen)
    assert found.bad == any(one.bad for one in seen.values())
    assert found.at == max(one.at for one in seen.values())
    assert len(found.parts) == sum(one.bad for one in seen.values())
    assert combined(dict(reversed(seen.items()))).parts == found.parts


def test_of_one_database_nothing_is_added() -> None:
    """Its sentence has no name before it, and only anomalies have parts."""
    bad = drill(FAILED, 0)
    assert of_drills(Facts(drill=bad)) == [of_drill(bad)]
    assert not of_drill(bad).parts
