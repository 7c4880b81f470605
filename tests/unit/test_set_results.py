"""What a run did for several databases is one document: how many, which not, and why."""

from __future__ import annotations

from blocks.errors import PgRoundtripError, SetIncomplete
from tasks.engine.repository.manifest import DrillReport, Verdict
from tasks.engine.repository.set_results import DatabaseDrilled, Failure, SetBackedUp, SetDrilled, SetRestored
from tasks.outcome import Outcome, failed
from tasks.reports import drills_table
from tests.unit.test_catalog import report
from tests.unit.test_sets import set_of

NAME = "backup_20261121_030000"


def drilled(**verdicts: Verdict) -> tuple[DatabaseDrilled, ...]:
    """Drills with these verdicts, by the name of the database."""
    return tuple(
        DatabaseDrilled(plan=f"default/{name}", database=name, report=report(NAME, verdict))
        for name, verdict in verdicts.items()
    )


def test_a_set_in_numbers() -> None:
    """It counts all databases, and has each that failed with its reason."""
    made = set_of(3, ("shop", NAME), ("crm", ""))
    without = made.members[1].model_copy(update={"error": "it is away", "code": "PGR-DB-UNREACHABLE"})
    found = SetBackedUp.of(made.model_copy(update={"members": (made.members[0], without)}))
    assert (found.counted, found.done) == ("1 of 2", 1)
    assert found.failed == (Failure(database="crm", reason="it is away", code="PGR-DB-UNREACHABLE"),)


def test_the_worst_of_several_drills() -> None:
    """FAILED is worse than INCONCLUSIVE, and the run has the verdict of the worst; a report for each is there."""
    some = drilled(a=Verdict.PROVEN, b=Verdict.INCONCLUSIVE, c=Verdict.FAILED)
    found = SetDrilled(drills=some, failed=(Failure(database="d", reason="no", code="PGR-DB-REFUSED"),))
    assert found.worst
    assert (found.worst.database, found.counted) == ("c", "1 of 4")
    document = found.summary()
    assert document["verdict"] == "FAILED"
    assert [one["database"] for one in document["databases"]] == ["a", "b", "c"]  # type: ignore[attr-defined]
    assert [row[0] for row in drills_table(found)] == ["d", "b", "c", "a"]
    assert SetDrilled(drills=()).summary()["verdict"] is None


def test_hooks_and_messages_get_the_worst_report() -> None:
    """Of several drills the worst is that of the run; a run that failed has what was done, too."""
    some = SetDrilled(drills=drilled(a=Verdict.PROVEN, b=Verdict.FAILED))
    worst = Outcome("restore-drill", "default", "", some).report
    assert worst
    assert worst.verdict is Verdict.FAILED
    ended: Outcome[object] = failed("restore-drill", "default", SetIncomplete(facts=some))
    assert (ended.facts, ended.good) == (some, False)
    other: Outcome[object] = failed("restore", "default", PgRoundtripError())
    assert other.facts is None
    alone: Outcome[DrillReport] = Outcome("restore-drill", "default", "", report(NAME))
    assert alone.report == alone.facts


def test_a_restore_in_numbers() -> None:
    """The document of a restore has what failed now, and what the set never had."""
    found = SetRestored(set="set_1", counted="1 of 3", rows=4, failed=(Failure(database="a", reason="b", code="c"),))
    assert found.model_dump()["failed"] == ({"database": "a", "reason": "b", "code": "c"},)
