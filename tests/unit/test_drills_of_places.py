"""A drill of one place says nothing of another: not in messages, not in metrics, and not on the status page."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path

from blocks.config.plan import Plan
from tasks.engine.notify.ends import of_drills_with
from tasks.engine.notify.facts import observations, of_drills, read_facts, unproven_limit
from tasks.engine.notify.incidents import Incident, Observation, Subject, decide
from tasks.engine.notify.message import Kind
from tasks.engine.repository.manifest import Verdict
from tasks.status.judgement import Colour
from tasks.status.metrics import exposition, read_stock
from tasks.status.summary import read_status
from tests.unit.test_catalog import report
from tests.unit.test_catch_up import NOW, ago, store_backup
from tests.unit.test_status_of_places import drilled, plan

__all__ = ["plan"]
DAY = timedelta(days=1)


class Told:
    """What is told of drills, look by look."""

    def __init__(self, plan: Plan) -> None:
        self.plan = plan
        self.before: Incident | None = None

    def look(self) -> Kind | None:
        """Look at the places now."""
        for one in of_drills(read_facts(self.plan, NOW)):
            decision = decide(self.before, one, NOW)
            self.before = decision.incident or self.before
            return decision.tell
        return None


def test_a_proof_of_one_place_ends_nothing_of_another(plan: Plan) -> None:
    """FAILED in one place is told until a drill of that place is PROVEN, whatever drills of another prove meanwhile."""
    told, (primary, copy) = Told(plan), plan.destinations
    store_backup(copy.storage, ago(30))
    drilled(primary, ago(40), Verdict.FAILED, 5)
    assert told.look() == "failed"
    drilled(copy, ago(30), hours_ago=4)
    assert told.look() is None
    (seen,) = of_drills(read_facts(plan, NOW))
    assert (seen.bad, seen.sentence.startswith(f"primary: {ago(40)} is FAILED")) == (True, True)
    drilled(copy, ago(30), Verdict.INCONCLUSIVE, 3)
    assert told.look() == "failed"
    drilled(copy, ago(30), hours_ago=2)
    drilled(primary, ago(30), hours_ago=1)
    assert told.look() == "recovered"


def test_the_end_of_a_drill_shows_all_places(plan: Plan) -> None:
    """A drill of one place that is PROVEN ends with what is known of the others."""
    primary, copy = plan.destinations
    drilled(primary, ago(40), Verdict.FAILED, 5)
    drilled(copy, ago(40), hours_ago=4)
    good = report(ago(40))
    assert [one.bad for one in of_drills_with(good, read_facts(plan, NOW), NOW)] == [True]


def test_nothing_has_recovered_in_a_place_that_cannot_be_read(plan: Plan, tmp_path: Path) -> None:
    """A place that FAILED and is away is not taken for one that works again."""
    told, (primary, copy) = Told(plan), plan.destinations
    drilled(primary, ago(40), Verdict.FAILED, 5)
    assert told.look() == "failed"
    drilled(copy, ago(40), hours_ago=4)
    (tmp_path / "primary").rename(tmp_path / "elsewhere")
    assert told.look() is None
    assert told.before
    assert told.before.open


def unproven(plan: Plan, now: datetime = NOW) -> Observation:
    facts = read_facts(plan, now)
    limit = unproven_limit(plan, facts, None, now)
    seen = observations(facts, plan.schedules, limit, ("restore-drill",), now)
    return next(one for one in seen if one.subject is Subject.UNPROVEN)


def test_each_place_is_to_be_proven(plan: Plan) -> None:
    """Places that take turns have two of their rounds each; one that VERIFY_DESTINATION leaves out needs no proof."""
    primary, copy = plan.destinations
    drilled(copy, ago(40), hours_ago=1)
    drilled(primary, ago(40), hours_ago=95)
    assert not unproven(plan).bad
    later = NOW + timedelta(hours=2)
    assert unproven(plan, later).sentence == "primary: No drill has proven a backup for 4 days"
    alone = replace(plan, drill=replace(plan.drill, destination="copy"))
    assert not unproven(alone, later).bad


def test_metrics_and_page_judge_each_place(plan: Plan) -> None:
    """The newest drill is that of any place; each place has its own verdict, and its own colour."""
    primary, copy = plan.destinations
    drilled(primary, ago(40), Verdict.FAILED, 5)
    drilled(copy, ago(40), hours_ago=4)
    page = exposition("default", read_stock(plan), {}, {}, NOW).decode()
    for line in (
        'drill_verdict{plan="default",verdict="PROVEN"} 1.0',
        'place_drill_verdict{place="primary",plan="default",verdict="FAILED"} 1.0',
        'place_drill_verdict{place="copy",plan="default",verdict="PROVEN"} 1.0',
        'place_drill_verdict{place="copy",plan="default",verdict="FAILED"} 0.0',
        'place_drill_interval_seconds{place="copy",plan="default"} 172800.0',
    ):
        assert f"pg_roundtrip_{line}" in page
    assert 'place_newest_proof_timestamp_seconds{place="primary"' not in page
    colours = {p.place: p.judgement.colour for p in read_status(plan, NOW).plans}
    assert (colours["primary"], colours["copy"] is Colour.BAD) == (Colour.BAD, False)
    alone = replace(plan, drill=replace(plan.drill, destination="copy"))
    page = exposition("default", read_stock(alone), {}, {}, NOW).decode()
    assert 'place_drill_interval_seconds{place="copy",plan="default"} 86400.0' in page
    assert 'place_drill_interval_seconds{place="primary"' not in page
    assert 'place_drill_verdict{place="primary",plan="default",verdict="FAILED"} 1.0' in page
