"""An anomaly keeps the backup before it until somebody knows of it, and retention never removes more because of one."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tasks.engine.drill.unusual import check_anomalies, check_restore_time
from tasks.engine.repository import facts
from tasks.engine.repository.anomaly_history import read_facts
from tasks.engine.repository.catalog import Backup
from tasks.engine.repository.identity import Database, Origin
from tasks.engine.repository.manifest import Acknowledgement, Anomaly, Verdict
from tasks.engine.repository.names import ACKNOWLEDGED, MANIFEST, OBJECT, name_at
from tasks.engine.repository.open_anomalies import open_anomalies, told_of_anomalies
from tasks.engine.repository.repository import HEAD_BYTES, Repository
from tasks.engine.repository.retention import Policy, decide
from tasks.engine.repository.unsettled import unsettled
from tests.memory_store import MemoryStore
from tests.unit.test_catalog import manifest, report
from tests.unit.test_retention import CATALOGS, POLICIES

NOW = datetime(2026, 11, 21, 12, tzinfo=UTC)
DAY = Policy(retention_days=1, interval_s=86400)
LOST = Anomaly(kind="emptied", table="public.t", sentence="public.t had 7 rows, and has none", before=7, now=0)


@pytest.fixture(autouse=True)
def _nothing_remembered(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(facts, "_caches", {})
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


def backup(
    age_h: float, *, odd: bool = False, known: bool = False, compared: bool = True, verdict: Verdict | None = None
) -> Backup:
    """Return a backup of so many hours ago, perhaps with anomalies."""
    taken = NOW - timedelta(hours=age_h)
    origin = Origin("default", Database("shop", "1"), anomalous=odd, compared=compared)
    return Backup(name_at(taken), taken, "k", 1000, has_manifest=True, has_report=False, verdict=verdict, origin=origin,
                  acknowledged=known)  # fmt: skip


def kept(*backups: Backup, policy: Policy = DAY) -> list[float]:
    """Return the ages of the backups that are kept, oldest first."""
    decided = decide(backups, policy, NOW)
    return [(NOW - d.backup.taken_at) / timedelta(hours=1) for d in decided.decisions if d.keep]


def test_the_last_backup_before_an_anomaly_stays() -> None:
    """It may be the only one with everything; the odd one stays too, or nothing would protect it."""
    before = [backup(24 * day) for day in (12, 11, 10)]
    assert kept(*before, backup(200, odd=True), backup(1)) == [240, 200, 1]
    decided = {
        d.backup.taken_at: d.reason for d in decide([*before, backup(200, odd=True), backup(1)], DAY, NOW).decisions
    }
    assert decided[before[-1].taken_at] == f"the last one before the anomalies of {backup(200).name}"
    assert decided[NOW - timedelta(hours=200)] == "its anomalies are not acknowledged"


def test_a_backup_that_failed_its_drill_is_not_the_last_good_one() -> None:
    """What can't be restored is no replacement for what is lost."""
    before = [backup(300), backup(250, verdict=Verdict.FAILED)]
    assert kept(*before, backup(200, odd=True), backup(1)) == [300, 200, 1]


def test_acknowledged() -> None:
    """Somebody knows: the policy decides again."""
    assert kept(backup(300), backup(200, odd=True, known=True), backup(1)) == [1]


@pytest.mark.parametrize(("ages_h", "settled"), [
    ((3, 2, 1), False), ((30, 29, 28, 2, 1), False), ((72, 48, 24), True), ((72, 48, 12.5), True), ((26, 25, 1), False), ((), False),
])  # fmt: skip
def test_three_days_confirm(ages_h: tuple[float, ...], *, settled: bool) -> None:
    """Later backups without anomalies confirm one if they are of three other days; hourly ones are not enough."""
    backups = [backup(300), backup(100, odd=True), *map(backup, ages_h)]
    assert (unsettled(backups, NOW) == []) is settled


def test_odd_backups_confirm_nothing() -> None:
    """Each loss protects the backup before it, so that nothing between two losses goes."""
    backups = [backup(300), backup(96, odd=True), backup(72, odd=True), backup(48), backup(24, odd=True), backup(1)]
    assert [b.taken_at for b in unsettled(backups, NOW)] == [
        b.taken_at for b in backups if b.origin and b.origin.anomalous
    ]
    assert kept(*backups) == [300, 96, 72, 48, 24, 1]


def test_only_what_was_compared_and_did_not_fail_confirms() -> None:
    """No comparison finds nothing, and what can't be restored is no evidence; a sound backup of a third day is."""
    odd, failed = backup(120, odd=True), Verdict.FAILED
    silent = [backup(96, compared=False), backup(72, verdict=failed), backup(48), backup(24)]
    assert unsettled([odd, *silent], NOW) == [odd]
    assert unsettled([odd, *silent, backup(0, verdict=Verdict.INCONCLUSIVE)], NOW) == []
    assert kept(backup(240), odd, *silent, backup(1, compared=False)) == [240, 120, 24, 1]


def test_a_backup_from_the_future_confirms_nothing() -> None:
    """A clock that was wrong says nothing about days."""
    assert len(unsettled([backup(100, odd=True), *(backup(-48 * day) for day in (1, 2, 3))], NOW)) == 1


@given(CATALOGS, POLICIES, st.lists(st.sampled_from(["none", "odd", "known", "unknown"]), min_size=30, max_size=30))
def test_anomalies_never_make_retention_remove_more(backups: list[Backup], policy: Policy, marks: list[str]) -> None:
    """Whatever is odd or acknowledged, what would be kept without it is kept."""
    plain = [replace(b, origin=Origin("p", Database("d"))) for b in backups]
    marked = [
        replace(b, origin=None if m == "unknown" else Origin("p", Database("d"), anomalous=m in ("odd", "known"), compared=True), acknowledged=m == "known")
        for b, m in zip(backups, marks, strict=False)
    ]  # fmt: skip
    now = datetime(2026, 11, 21, 12, tzinfo=UTC)
    without = {b.name for b in decide(plain, policy, now).removals}
    assert {b.name for b in decide(marked, policy, now).removals} <= without


def keep(store: MemoryStore, age_h: int, *anomalies: Anomaly, plan: str = "default") -> str:
    """Store a backup with anomalies."""
    name = name_at(NOW - timedelta(hours=age_h))
    store.put(store.key(name + OBJECT), b"x" * 100)
    store.put(store.key(name + MANIFEST), manifest(name, anomalies=anomalies, compared_with=30, plan=plan).encode())
    return name


def own(store: MemoryStore) -> list[Backup]:
    """Return the listed backups with their origins."""
    listed = Repository(store).backups()
    known = facts.origins(Repository(store), listed)
    return [replace(b, origin=known.get(b.name)) for b in listed]


@pytest.mark.parametrize("many", [1, 20, 2000])
def test_retention_sees_anomalies_in_the_head_of_a_manifest(many: int) -> None:
    """One ranged read per backup is enough, however many anomalies a manifest has."""
    store = MemoryStore()
    odd, fine = keep(store, 5, *[LOST] * many, plan="p" * 200), keep(store, 4)
    assert {b.name: b.origin.anomalous for b in own(store) if b.origin} == {odd: True, fine: False}
    assert all(b.origin and b.origin.compared for b in own(store))
    assert [call for call, _ in store.calls if call == "get"] == []
    assert HEAD_BYTES == 4096


def test_open_anomalies_are_read_and_remembered() -> None:
    """The newest first, bounded; only what is open is read, and once."""
    store = MemoryStore()
    first, second = keep(store, 30, LOST), keep(store, 5, *[LOST.model_copy(update={"sentence": "\x1b" * 9999})] * 300)
    keep(store, 1)
    found = open_anomalies(Repository(store), own(store), NOW)
    assert [(odd.backup.name, len(odd.found)) for odd in found] == [(second, 20), (first, 1)]
    assert found[0].found[0].sentence.isprintable()
    assert told_of_anomalies(own(store), NOW) == f"unusual contents, which nobody has acknowledged: {second} and 1 more"
    store.calls.clear()
    assert open_anomalies(Repository(store), own(store), NOW) == found
    assert [call for call, key in store.calls if first in key] == []


def test_failed_drills_keep_anomalies_open() -> None:
    """Where verdicts aren't known yet, they are read before anomalies count as confirmed."""
    store = MemoryStore()
    odd, *later = keep(store, 97, LOST), *(keep(store, age) for age in (72, 48, 24))
    assert open_anomalies(Repository(store), own(store), NOW) == []
    Repository(store).store_report(report(later[0], Verdict.FAILED))
    assert [found.backup.name for found in open_anomalies(Repository(store), own(store), NOW)] == [odd]


def test_an_acknowledgement_is_written_once_and_removed_with_its_backup() -> None:
    """A second one changes nothing; removing the backup leaves no document behind."""
    store = MemoryStore()
    name = keep(store, 5, LOST)
    repository = Repository(store)
    given = Acknowledgement(tool_version="1", backup=name, acknowledged_at=NOW)
    assert repository.acknowledge(given)
    written = dict(store.objects)
    assert not repository.acknowledge(given.model_copy(update={"acknowledged_at": NOW + timedelta(days=1)}))
    assert store.objects == written
    (listed,) = own(store)
    assert listed.acknowledged
    assert open_anomalies(repository, [listed], NOW) == []
    repository.remove(listed)
    assert store.objects == {}
    assert store.key(name + ACKNOWLEDGED) in written


@pytest.mark.parametrize("drilled", [None, Verdict.PROVEN, Verdict.FAILED])
def test_an_interrupted_removal_reopens_no_alarm(drilled: Verdict | None) -> None:
    """That somebody knows of the anomalies is forgotten only when the manifest that tells of them is gone."""
    whole = MemoryStore()
    name = keep(whole, 5, LOST)
    Repository(whole).acknowledge(Acknowledgement(tool_version="1", backup=name, acknowledged_at=NOW))
    if drilled:
        Repository(whole).store_report(report(name, drilled))
    (backup,) = Repository(whole).looked_into(Repository(whole).backups())
    whole.calls.clear()
    Repository(whole).remove(backup)
    removed = [key for call, key in whole.calls if call == "remove"]
    assert removed[-2:] == [whole.key(name + ACKNOWLEDGED), whole.key(name + OBJECT)]
    assert len(removed) == (5 if drilled else 4)


def test_a_history_is_read_as_far_as_it_is_readable() -> None:
    """A manifest that is damaged, and one that was removed meanwhile, are left out."""
    store = MemoryStore()
    names = [keep(store, age) for age in (4, 3, 2, 1)]
    listed = Repository(store).backups()
    store.put(store.key(names[1] + MANIFEST), b"{")
    store.remove(store.key(names[2] + MANIFEST))
    read = read_facts(Repository(store), listed)
    assert [found.name for found in read] == [names[0], names[3]]


@pytest.mark.parametrize(("took", "raw_bytes", "drills", "result"), [
    (100, 1, 5, "passed"), (700, 1, 5, "warning"), (700, 1, 4, "passed"), (700, 10_000, 5, "passed"), (299, 1, 30, "passed"),
])  # fmt: skip
def test_a_restore_that_takes_much_longer_is_told(took: float, raw_bytes: int, drills: int, result: str) -> None:
    """Three times as long as ever, and a minute; unless there is that much more data, or little to compare with."""
    fields = {"place": "sandbox", "restore_seconds": 100.0, "raw_bytes": 1000, "started_at": NOW - timedelta(days=1)}
    earlier = [report(f"b{n}", Verdict.PROVEN).model_copy(update=fields) for n in range(drills)]
    other = [r.model_copy(update={"place": "database", "restore_seconds": 9999.0}) for r in earlier]
    check = check_restore_time("sandbox", took, raw_bytes, [*earlier, *other], NOW)
    assert (check.name, check.result) == ("restore time", result)


def test_a_drill_repeats_what_was_odd() -> None:
    """A warning, until somebody knows: then it is only mentioned."""
    odd = manifest(anomalies=[LOST] * 7)
    assert check_anomalies(manifest(), backup(1)).result == "passed"
    check = check_anomalies(odd, backup(1))
    assert (check.result, check.evidence.count(LOST.sentence)) == ("warning", 5)
    assert check_anomalies(odd, backup(1, known=True)).evidence.startswith("acknowledged: public.t had 7 rows")
