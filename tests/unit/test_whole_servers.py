"""A server is judged by its weakest database, and its drills go around."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from pydantic import SecretStr

from blocks.config.plan import Plan
from blocks.config.schedule import Schedule
from blocks.errors import NoBackups, ObjectMissing, SetIncomplete, SeveralDatabases
from blocks.s3.client import ObjectStore
from flows.runs.parameters import GlobalsMode
from flows.whole_server import How, restore_members, together
from tasks.engine.repository.catalog import Backup
from tasks.engine.repository.members import Member, member_with, to_drill, weakest
from tasks.engine.repository.names import LATEST, name_at, report_file, set_file
from tasks.engine.repository.report_files import ReportFile
from tasks.engine.repository.retention import Decision, PrunePlan
from tasks.engine.repository.set_results import SetRestored
from tasks.outcome import Outcome
from tests.memory_store import MemoryStore
from tests.plans import plan_of
from tests.unit.test_sets import set_of

NOON = datetime(2026, 11, 21, 12, tzinfo=UTC)
STORE = ObjectStore.at(endpoint="https://s3.example.com", bucket="b", prefix="p", key_id="key", secret=SecretStr("s"))
PLAN: Plan = plan_of(STORE, databases="*")


def backup_at(hours_ago: float, drilled_ago: float | None = None) -> Backup:
    moment = NOON - timedelta(hours=hours_ago)
    name = name_at(moment)
    made = Backup(name, moment, f"{name}.sql.gz", 1, has_manifest=True, has_report=False, stored_at=moment)
    if drilled_ago is None:
        return made
    began = NOON - timedelta(hours=drilled_ago)
    return replace(
        made, has_report=True, report_files=(ReportFile(report_file(name, began, conclusive=True), began, "1"),)
    )


def member(name: str, *backups: Backup) -> Member:
    return Member(PLAN.member(name), backups)


def test_the_weakest_counts() -> None:
    """A database without a backup is the weakest, then the one whose newest is oldest, whatever older ones others have."""
    fresh, old = member("fresh", backup_at(50), backup_at(1)), member("old", backup_at(3))
    assert weakest([fresh, old], NOON) is old
    assert weakest([fresh, old, member("none")], NOON).database == "none"


def test_which_are_drilled() -> None:
    """In turn, one that has a backup; the newest; or all, even without a backup: nothing proves that one."""
    never, long_ago = member("never", backup_at(9)), member("long_ago", backup_at(8, 7))
    lately, none = member("lately", backup_at(3, 2)), member("none")
    due = Schedule(24 * 3600)
    assert to_drill([never, none], "turn", due, NOON) == [never]
    assert to_drill([lately, long_ago, none], "turn", due, NOON) == [long_ago]
    assert to_drill([never, lately, none], "newest", due, NOON) == [lately]
    assert to_drill([never, lately, none], "all", due, NOON) == [never, lately, none]
    with pytest.raises(NoBackups):
        to_drill([none], "all", due, NOON)


def test_a_backup_s_name_must_say_whose_it_is() -> None:
    """A name that several databases have a backup of, and the newest of several, are no answer."""
    one, other = member("one", backup_at(3), backup_at(1)), member("other", backup_at(3))
    assert member_with([one, other], f"{name_at(NOON - timedelta(hours=1))}.sql.gz") is one
    for name in (name_at(NOON - timedelta(hours=3)), LATEST):
        with pytest.raises(SeveralDatabases) as error:
            member_with([one, other], name)
        assert "default/one" in error.value.hint
    assert member_with([one], LATEST) is one
    with pytest.raises(ObjectMissing):
        member_with([one], name_at(NOON))
    with pytest.raises(NoBackups):
        member_with([], LATEST)


def restored(*members: tuple[str, str], mode: GlobalsMode = "none") -> Outcome[SetRestored]:
    """Restore a set with these members to nowhere; there is one that lacks none, and a later one that is lost."""
    store = MemoryStore(folder="p")
    for made in (set_of(1, ("shop", name_at(NOON))), set_of(2), set_of(3, *members)):
        store.objects[store.key(set_file(made.name))] = made.encode()
    plan = replace(PLAN, storage=store)  # type: ignore[arg-type]
    return restore_members(plan, set_of(3, *members), "default", How(globals_mode=mode), lambda *_: 5)


def test_a_set_that_lacks_a_database() -> None:
    """Its restore does what it can, fails, and names the newest set that lacks none."""
    for members, counted in (([("shop", name_at(NOON)), ("crm", "")], "1 of 2"), ([("crm", "")], "0 of 1")):
        with pytest.raises(SetIncomplete) as error:
            restored(*members)
        assert counted in error.value.message
        assert "crm" in error.value.context
        assert set_of(1).name in error.value.hint
        assert isinstance(error.value.facts, SetRestored)
        assert [one.database for one in error.value.facts.not_in_set] == ["crm"]
    whole = restored(("shop", name_at(NOON))).facts
    assert whole
    assert (whole.counted, whole.rows) == ("1 of 1", 5)


@pytest.mark.parametrize("mode", ["only", "only (plan)"])
def test_a_set_without_roles(mode: GlobalsMode) -> None:
    """Where only roles are wanted and there are none, that is no success."""
    with pytest.raises(SetIncomplete, match="no roles"):
        restored(("shop", name_at(NOON)), mode=mode)


def test_decisions_say_of_which_database() -> None:
    """Backups of one second in two folders are told apart."""
    one = PrunePlan((Decision(backup_at(1), keep=True, reasons=("new",)),), warning="stopped", failed=1)
    other = PrunePlan((Decision(backup_at(1), keep=False, reasons=("old",)),))
    both = together({"a": one, ".-a": other})
    assert [d.backup.name for d in both.decisions] == [f"a/{backup_at(1).name}", f".-a/{backup_at(1).name}"]
    assert (both.warning, both.failed, len(both.removals)) == ("a: stopped", 1, 1)
