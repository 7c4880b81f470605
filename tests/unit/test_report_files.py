"""Which of a backup's drills counts, whatever wrong clocks and other versions left beside it."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tasks.engine.notify.facts import read_facts
from tasks.engine.repository import facts
from tasks.engine.repository.choice import last_drill
from tasks.engine.repository.facts import newest_proven, surveyed
from tasks.engine.repository.manifest import Verdict
from tasks.engine.repository.names import MANIFEST, OBJECT, REPORT, report_file
from tasks.engine.repository.report_files import ReportFile, in_turn
from tasks.engine.repository.repository import REPORT_BYTES, Repository
from tasks.status import metrics
from tasks.status.judgement import Facts, judge
from tests.memory_store import MemoryStore
from tests.status_facts import DAILY, NOW, backup_of
from tests.unit.test_catalog import SECOND, manifest, report
from tests.unit.test_notify import plan_in

DAY, YEAR = timedelta(days=1), timedelta(days=365)
BACKUP = backup_of(24 * 9)
MOMENTS = st.integers(0, 10**6).map(lambda s: NOW - timedelta(seconds=s))


@pytest.fixture(autouse=True)
def _nothing_remembered(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(facts, "_caches", {})
    monkeypatch.setattr(metrics, "utc_now", lambda: NOW)


def folder() -> MemoryStore:
    """A folder with one backup of nine days ago."""
    store = MemoryStore()
    store.put(store.key(BACKUP.name + OBJECT), b"x" * 100)
    store.put(store.key(BACKUP.name + MANIFEST), manifest(BACKUP.name).encode())
    return store


def drilled(
    store: MemoryStore, verdict: Verdict, ago: timedelta, ahead: timedelta = timedelta(0), *, by_1_0: bool = False
) -> None:
    """Store the report of a drill by a machine whose clock was ahead."""
    made = report(BACKUP.name, verdict).model_copy(update={"started_at": NOW - ago + ahead})
    dated = report_file(BACKUP.name, made.started_at, conclusive=verdict is not Verdict.INCONCLUSIVE)
    key = store.key(BACKUP.name + REPORT if by_1_0 else dated)
    store.put(key, made.encode())
    store.moments[key] = NOW - ago


def verdicts(store: MemoryStore) -> set[Verdict | None]:
    """Return what each way of asking says of the backup."""
    repository = Repository(store)
    listed = repository.backups()
    even_unlisted = repository.report_even_unlisted(BACKUP.name)
    return {
        repository.looked_into(listed)[0].verdict,
        surveyed(repository, listed)[0].verdict,
        even_unlisted.verdict if even_unlisted else None,
        Verdict.PROVEN if newest_proven(repository, listed) else Verdict.FAILED,
    }


def test_a_report_from_the_future_outranks_none_that_came_after() -> None:
    """What a drill with a wrong clock proved doesn't hide that each drill since has FAILED."""
    store = folder()
    drilled(store, Verdict.PROVEN, 3 * DAY, ahead=YEAR)
    assert verdicts(store) == {Verdict.PROVEN}
    drilled(store, Verdict.FAILED, DAY)
    assert verdicts(store) == {Verdict.FAILED}


def test_a_report_from_the_future_puts_off_no_drill() -> None:
    """Drills are due by when the storage took the last report, or by no report if that is in the future, too."""
    store, repository = folder(), Repository(folder())
    assert last_drill(repository, repository.backups(), NOW) is None
    drilled(store, Verdict.PROVEN, 3 * DAY, ahead=YEAR)
    assert last_drill(Repository(store), Repository(store).backups(), NOW) == NOW - 3 * DAY
    assert last_drill(Repository(store), Repository(store).backups(), NOW - 4 * DAY) is None


def test_a_proof_from_the_future_does_not_hide_that_drills_have_stopped() -> None:
    """It is as old as its report; and none at all if even the storage's clock was ahead."""
    store = folder()
    drilled(store, Verdict.PROVEN, 5 * DAY, ahead=YEAR)
    repository = Repository(store)
    listed = repository.backups()
    known = Facts(listed, facts.drills(repository, listed), DAILY, DAILY)
    assert "nothing was PROVEN for 5 days, and a drill is due every 24 h" in _said(known, NOW)
    assert "no backup is PROVEN yet" in _said(known, NOW - 6 * DAY)


@pytest.mark.parametrize(("dated", "of_1_0", "later", "counts"), [
    (Verdict.PROVEN, Verdict.FAILED, DAY, Verdict.FAILED), (Verdict.FAILED, Verdict.PROVEN, DAY, Verdict.PROVEN),
    (Verdict.FAILED, Verdict.PROVEN, -DAY, Verdict.FAILED), (Verdict.FAILED, Verdict.INCONCLUSIVE, DAY, Verdict.FAILED),
    (Verdict.INCONCLUSIVE, Verdict.FAILED, -DAY, Verdict.FAILED),
])  # fmt: skip
def test_a_drill_of_1_0(dated: Verdict, of_1_0: Verdict, later: timedelta, counts: Verdict) -> None:
    """While both versions drill, the newest verdict counts, whichever of them reached it."""
    store = folder()
    drilled(store, dated, 3 * DAY)
    drilled(store, of_1_0, 3 * DAY - later, by_1_0=True)
    assert verdicts(store) == {counts}


def test_a_copied_folder() -> None:
    """Its reports were all stored just now: those of 1.0 are the older ones."""
    store = folder()
    drilled(store, Verdict.FAILED, 3 * DAY)
    drilled(store, Verdict.PROVEN, 4 * DAY, by_1_0=True)
    copied_at = iter([NOW - timedelta(minutes=m) for m in range(9, 0, -1)])
    store.moments = {key: next(copied_at) for key in sorted(store.objects, reverse=True)}
    assert verdicts(store) == {Verdict.FAILED}


def unread(store: MemoryStore, spoil: Callable[[bytes], bytes]) -> None:
    """Spoil the report that counts."""
    key = store.key(Repository(store).backups()[0].reports[0])
    store.objects[key] = spoil(store.objects[key])


@pytest.mark.parametrize("spoil", [
    lambda data: data[:-9], lambda _: b"", lambda data: data.replace(b'"format": 1', b'"format": 2'),
    lambda data: data.replace(BACKUP.name.encode(), SECOND.encode()), lambda data: data + b" " * REPORT_BYTES,
])  # fmt: skip
def test_an_unreadable_report_hides_no_other(spoil: Callable[[bytes], bytes]) -> None:
    """One that is cut, of a later format, too large or about another backup leaves it at what was known before."""
    store = folder()
    drilled(store, Verdict.FAILED, 3 * DAY)
    drilled(store, Verdict.PROVEN, DAY)
    unread(store, spoil)
    assert verdicts(store) == {Verdict.FAILED}


def of_the_newest_drill(store: MemoryStore) -> tuple[Verdict | None, Verdict | None, list[str]]:
    """Return what metrics, messages and the status page say of it."""
    repository, plan = Repository(store), plan_in(store)
    listed = repository.backups()
    counted, told = metrics.read_stock(plan).report, read_facts(plan, NOW).drill
    reasons = _said(Facts(listed, facts.drills(repository, listed), DAILY, DAILY), NOW)
    verdicts = [found.verdict if found else None for found in (counted, told)]
    return verdicts[0], verdicts[1], [reason for reason in reasons if reason.startswith("the newest drill")]


INCONCLUSIVE = "the newest drill was INCONCLUSIVE: it says nothing about its backup"


@pytest.mark.parametrize("ahead", [timedelta(0), YEAR])
def test_an_inconclusive_drill_is_seen(ahead: timedelta) -> None:
    """That drills don't work any more is told, though the backup stays PROVEN; a drill that works ends it."""
    store = folder()
    drilled(store, Verdict.PROVEN, 3 * DAY)
    assert of_the_newest_drill(store) == (Verdict.PROVEN, Verdict.PROVEN, [])
    drilled(store, Verdict.INCONCLUSIVE, 2 * DAY, ahead)
    assert of_the_newest_drill(store) == (Verdict.INCONCLUSIVE, Verdict.INCONCLUSIVE, [INCONCLUSIVE])
    assert verdicts(store) == {Verdict.PROVEN}
    assert read_facts(plan_in(store), NOW).proved_at == NOW - 3 * DAY
    drilled(store, Verdict.PROVEN, DAY)
    assert of_the_newest_drill(store) == (Verdict.PROVEN, Verdict.PROVEN, [])


def test_an_inconclusive_drill_takes_back_no_failure() -> None:
    """The backup is as bad as before: no alarm about it ends."""
    store = folder()
    drilled(store, Verdict.FAILED, 3 * DAY)
    failed = of_the_newest_drill(store)
    drilled(store, Verdict.INCONCLUSIVE, DAY)
    assert of_the_newest_drill(store) == failed
    assert failed[:2] == (Verdict.FAILED, Verdict.FAILED)


def _said(known: Facts, now: datetime) -> list[str]:
    return [reason.text for reason in judge(known, now).reasons]


@given(
    st.lists(st.builds(lambda at: ReportFile(report_file(BACKUP.name, at, conclusive=True), NOW), MOMENTS), min_size=1),
    MOMENTS,
)
def test_with_right_clocks_the_newest_counts(reports: list[ReportFile], stored_at: datetime) -> None:
    """So it does after a folder was copied, which stores all at once; and one that is ahead is ahead of none later."""
    counts = in_turn(reports)[0]
    assert counts.file == max(each.file for each in reports)
    ahead = ReportFile(report_file(BACKUP.name, datetime(9999, 1, 1, tzinfo=UTC), conclusive=True), stored_at)
    assert (in_turn([*reports, ahead])[0] == ahead) == (stored_at >= counts.moment)
