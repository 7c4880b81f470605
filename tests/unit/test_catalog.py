"""The bucket's listing says which backups exist, and nothing else is mistaken for one."""

from __future__ import annotations

import string
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import SecretStr

from blocks.errors import BackupDamaged, NoBackups, ObjectMissing
from blocks.s3.client import ObjectStore, StoredObject
from tasks.engine.repository.catalog import Backup, backups_in, named
from tasks.engine.repository.facts import newest_proven
from tasks.engine.repository.manifest import (
    Check,
    DrillReport,
    Manifest,
    SequenceRecord,
    TableRecord,
    Verdict,
    read_manifest,
    read_report,
)
from tasks.engine.repository.names import (
    MANIFEST,
    OBJECT,
    REPORT,
    backup_of_report,
    drilled_at,
    name_at,
    report_file,
    taken_at,
)
from tasks.engine.repository.report_files import ReportFile, in_turn
from tasks.engine.repository.repository import Repository

NOW = datetime(2026, 11, 21, 2, 7, 13, tzinfo=UTC)
FIRST, SECOND, THIRD = "backup_20261119_020713", "backup_20261120_020713", "backup_20261121_020713"


@dataclass
class FakeStorage(ObjectStore):
    """An in-memory bucket that counts what is fetched; it lists by key prefix, as S3 does."""

    objects: dict[str, bytes] = field(default_factory=dict)
    fetched: list[str] = field(default_factory=list)
    foreign: bool = False

    def list_objects(self, during: object = None, beginning: str = "") -> Iterator[StoredObject]:  # noqa: ARG002  (the real one names a failure by it)
        found = sorted(k for k in self.objects if k.startswith(self.key(beginning)))
        return (StoredObject(k, len(self.objects[k]), NOW) for k in found)

    def get(self, key: str, limit_bytes: int = 0) -> bytes:  # noqa: ARG002
        self.fetched.append(key)
        if key not in self.objects:
            raise ObjectMissing(key)
        return self.objects[key]

    def stat(self, key: str, during: object = None) -> StoredObject | None:  # noqa: ARG002
        there = key in self.objects
        return StoredObject(key, len(self.objects[key]), NOW, ours=not self.foreign) if there else None


def storage(objects: dict[str, bytes], prefix: str = "backups") -> FakeStorage:
    at = ObjectStore.at(
        endpoint="https://s3.example.com", bucket="bucket", prefix=prefix, region="r", key_id="k", secret=SecretStr("s")
    )
    return FakeStorage(**vars(at), objects=objects)


def manifest(name: str = FIRST, **changes: Any) -> Manifest:
    fields: dict[str, Any] = {
        "tool_version": "1.0", "plan": "default", "name": name, "database": 'odd "name" ä', "server_version": "16.4",
        "client_version": "16.6", "encoding": "UTF8", "collation": "C", "character_type": "C", "started_at": NOW,
        "ended_at": NOW, "raw_bytes": 10, "object_bytes": 5, "sha256": "ab" * 32, "compression": "gzip 6",
        "schema_digest": "0" * 32, "schema_statements": 1, "sequences": (SequenceRecord(name="s", value=-5, called=True),),
        "tables": (TableRecord(name='public."t, ä"', columns=('"a, b"', "c"), rows=3, digest="f" * 32, raw_bytes=9,
                               member_offset=1 << 45, skip_bytes=0),),
        "large_objects": 0, "large_object_digest": "0" * 32, "extensions": {"citext": "1.6"}, "roles": ("app",),
    }  # fmt: skip
    return Manifest(**(fields | changes))


def report(name: str, verdict: Verdict = Verdict.PROVEN) -> DrillReport:
    return DrillReport(
        tool_version="1.0", backup=name, verdict=verdict, cause="" if verdict == "PROVEN" else "why", started_at=NOW,
        checks=(Check(name="row counts", result="passed", evidence="3 rows"),), restore_seconds=1.5, seconds=2.5,
    )  # fmt: skip


MOMENTS = st.datetimes(datetime(1000, 1, 1), datetime(9999, 12, 31), timezones=st.just(UTC))  # noqa: DTZ001


@given(MOMENTS)
def test_a_name_tells_its_moment(moment: datetime) -> None:
    """A backup name preserves its time to the second."""
    assert taken_at(name_at(moment)) == moment.replace(microsecond=0)


def test_names_are_in_utc() -> None:
    """A time in any zone yields the same name as that time in UTC."""
    assert name_at(NOW.astimezone(timezone(timedelta(hours=9)))) == THIRD


@given(
    st.text(string.digits + "_\u0663\uff12 \n", max_size=18).map("backup_".__add__)
    | st.from_regex(r"backup_\d{8}_\d{6}", fullmatch=True)
)
def test_only_exact_names_are_names(name: str) -> None:
    """A valid name is always in canonical form: ASCII digits only, and only real dates."""
    moment = taken_at(name)
    assert moment is None or name_at(moment).removeprefix("backup_").zfill(15) == name.removeprefix("backup_")


@given(MOMENTS, MOMENTS, st.booleans())
def test_a_report_s_name_tells_backup_and_moment(taken: datetime, started: datetime, conclusive: bool) -> None:
    """What is listed suffices to know which backup was drilled when, and whether that said anything about it."""
    file = report_file(name_at(taken), started, conclusive=conclusive)
    assert (backup_of_report(file), drilled_at(file)) == (name_at(taken), started.replace(microsecond=0))
    others = (name_at(taken) + REPORT, report_file(name_at(taken), started, conclusive=not conclusive))
    listed = [ReportFile(each, NOW) for each in (file, *others)]
    assert in_turn(listed)[0].file == (file if conclusive else others[1])


@pytest.mark.parametrize("file", [
    "drill_20261126_060000.json", ".drill_20261126_060000.json", f"{FIRST}.drill_.json", f"{FIRST}.drill_20261126.json",
    f"{FIRST}.drill_20261326_060000.json", f"{FIRST}.drill_20261126_060000", f"{FIRST}.drill_20261126_060000.inconclusive", f"{FIRST}.drill.inconclusive.json",
    f"x{FIRST}.drill.json", f"{FIRST}.drill_20261126_060000.json\n", f"evidence/{FIRST}.drill_20261126_060000.json", "backup_20261321_020713.drill.json",
])  # fmt: skip
def test_reports_names_that_are_none(file: str) -> None:
    """Almost valid names of reports are ignored."""
    assert backup_of_report(file) is None


@pytest.mark.parametrize("name", [
    "", "backup_", "backup_2026", "backup_20261121_0207130", "backup_20261121_020713 ", "backup_20261121_020713\n", "xbackup_20261121_020713",
    "Backup_20261121_020713", "backup_20261121-020713", "backup_20261321_020713", "backup_20260230_020713", "backup_20261121_240000",
    "backup_20261121_020760", "backup_20261121_020761", "backup_2026112\u0661_020713", "backup_00000000_000000", "backup_20261121_020713.sql.gz",
])  # fmt: skip
def test_names_that_are_none(name: str) -> None:
    """Almost valid names are ignored."""
    assert taken_at(name) is None


def test_what_is_listed() -> None:
    """Backups are listed oldest first, each with its size and its accompanying files."""
    objects = {
        f"backups/{THIRD}{OBJECT}": b"333", f"backups/{THIRD}{MANIFEST}": b"{}", f"backups/{THIRD}{REPORT}": b"{}",
        f"backups/{FIRST}{OBJECT}": b"1", f"backups/{SECOND}{OBJECT}": b"22", f"backups/{SECOND}{MANIFEST}": b"{}",
    }  # fmt: skip
    found = Repository(storage(objects)).backups()
    assert [(b.name, b.object_bytes, b.has_manifest, b.has_report, b.foreign) for b in found] == [
        (FIRST, 1, False, False, True), (SECOND, 2, True, False, False), (THIRD, 3, True, True, False),
    ]  # fmt: skip
    assert [b.taken_at for b in found] == [NOW - timedelta(days=2), NOW - timedelta(days=1), NOW]
    assert found[0].key == f"backups/{FIRST}{OBJECT}"


@pytest.mark.parametrize("key", [
    f"backups/{FIRST}{MANIFEST}", f"backups/{FIRST}{REPORT}", f"backups/{FIRST}.sql", f"backups/{FIRST}.sql.gz.tmp", f"backups/{FIRST}",
    f"backups/old/{FIRST}{OBJECT}", f"backups2/{FIRST}{OBJECT}", f"backups{FIRST}{OBJECT}", f"{FIRST}{OBJECT}", f"x/backups/{FIRST}{OBJECT}",
    f"backups/my_{FIRST}{OBJECT}", f"backups/{FIRST}{OBJECT}{OBJECT}", "backups/", "backups/.sql.gz", f"BACKUPS/{FIRST}{OBJECT}",
    f"backups//{FIRST}{OBJECT}", f"backups/{FIRST}_1{OBJECT}",
])  # fmt: skip
def test_what_is_no_backup(key: str) -> None:
    """Documents without an object, other names and other folders are not listed, and so never removed."""
    objects = [StoredObject(key, 1, NOW), StoredObject(f"backups/{SECOND}{OBJECT}", 1, NOW)]
    assert [b.name for b in backups_in("backups/", objects)] == [SECOND]


@pytest.mark.parametrize(("prefix", "key"), [
    ("", f"{FIRST}{OBJECT}"), ("/", f"{FIRST}{OBJECT}"), ("a/b", f"a/b/{FIRST}{OBJECT}"), ("/a/b/", f"a/b/{FIRST}{OBJECT}"),
])  # fmt: skip
def test_the_prefix_is_a_folder(prefix: str, key: str) -> None:
    """With or without slashes around it, or empty, the prefix is matched as a complete folder name."""
    objects = {key: b"1", f"a/bc/{SECOND}{OBJECT}": b"1", f"a/b{SECOND}{OBJECT}": b"1", f"c/a/b/{SECOND}{OBJECT}": b"1"}
    assert [b.key for b in Repository(storage(objects, prefix)).backups()] == [key]


@given(st.randoms(use_true_random=False))
def test_the_order_of_the_listing_does_not_matter(shuffle: Any) -> None:
    """A manifest counts wherever it occurs in the listing."""
    keys = [f"backups/{name}{end}" for name in (FIRST, SECOND, THIRD) for end in (OBJECT, MANIFEST, REPORT)]
    listing = [StoredObject(key, 1, NOW) for key in keys]
    shuffled = shuffle.sample(listing, len(listing))
    assert backups_in("backups/", iter(shuffled)) == backups_in("backups/", listing)


def test_choosing_a_backup() -> None:
    """A backup is found by name, with or without extension; having none at all is a separate error."""
    backups = Repository(storage({f"backups/{name}{OBJECT}": b"" for name in (FIRST, SECOND)})).backups()
    assert named(backups, FIRST) == named(backups, FIRST + OBJECT) == backups[0]
    for name in (THIRD, "backup_2026", FIRST + MANIFEST):
        with pytest.raises(ObjectMissing):
            named(backups, name)
    with pytest.raises(NoBackups):
        named([], FIRST)


def test_a_manifest_comes_back_as_it_was() -> None:
    """A manifest is read back unchanged, including odd names and large numbers."""
    stored = manifest()
    assert read_manifest(stored.encode(), FIRST) == stored
    assert stored.rows == 3
    assert stored.encode().endswith(b"}\n")
    assert '"t, ä\\""'.encode() in stored.encode()


def test_a_newer_manifest_may_say_more() -> None:
    """Unknown fields are harmless."""
    assert read_manifest(manifest().encode().replace(b"{", b'{"later": 1,', 1), FIRST) == manifest()


def test_the_manifest_of_another_backup_is_refused() -> None:
    """A manifest copied beside another object says nothing about it."""
    with pytest.raises(BackupDamaged, match=f"the manifest beside {SECOND} belongs to {FIRST}"):
        read_manifest(manifest(FIRST).encode(), SECOND)


@pytest.mark.parametrize(("before", "after"), [
    (b"{", b"["), (b'"format": 1', b'"format": 2'), (b'"rows": 3', b'"rows": -3'), (b'"rows": 3', b'"rows": "many"'),
    (b"f" * 32, b"f" * 31), (b"f" * 32, b"F" * 32), (b"ab" * 32, b"ab" * 31), (b'"raw_bytes": 10,', b""), (b"ab", b"\xff\xfe"),
    (b"\n", b""),
])  # fmt: skip
def test_a_manifest_that_is_none(before: bytes, after: bytes) -> None:
    """A manifest that is truncated, altered or of another format is damage, reported without its contents."""
    data = manifest().encode()
    assert before in data
    changed = data[:100] if before == b"\n" else data.replace(before, after)
    with pytest.raises(BackupDamaged, match=f"the manifest of {FIRST} cannot be read"):
        read_manifest(changed, FIRST)


@given(st.binary(max_size=60))
def test_rubbish_is_no_manifest_and_no_report(data: bytes) -> None:
    """Arbitrary bytes are refused with our own message, and prove nothing."""
    with pytest.raises(BackupDamaged):
        read_manifest(data, FIRST)
    assert read_report(data) is None


@pytest.mark.parametrize("verdict", Verdict)
def test_a_report_comes_back_as_it_was(verdict: Verdict) -> None:
    """Every verdict survives a round trip, and scripts get the same."""
    stored = report(FIRST, verdict)
    assert read_report(stored.encode()) == stored
    assert stored.summary()["verdict"] == verdict.value
    assert read_report(stored.encode().replace(verdict.value.encode(), b"MAYBE")) is None


def test_documents_are_fetched_only_where_they_are() -> None:
    """No manifest is requested for a foreign backup, and no report for one that was never drilled."""
    objects = {
        f"backups/{FIRST}{OBJECT}": b"",
        f"backups/{SECOND}{OBJECT}": b"",
        f"backups/{SECOND}{MANIFEST}": manifest(SECOND).encode(),
    }
    bucket = storage(objects)
    foreign, ours = Repository(bucket).backups()
    assert (Repository(bucket).manifest(foreign), Repository(bucket).report(foreign), bucket.fetched) == (
        None,
        None,
        [],
    )
    assert Repository(bucket).manifest(ours) == manifest(SECOND)


def test_a_report_that_went_away_is_none() -> None:
    """A report can be removed between the listing and the reading."""
    gone = Backup(FIRST, NOW, f"backups/{FIRST}{OBJECT}", 1, has_manifest=True, has_report=True)
    assert Repository(storage({})).report(gone) is None


def proofs(**reports: bytes) -> FakeStorage:
    objects = {f"backups/{name}{OBJECT}": b"" for name in (FIRST, SECOND, THIRD)}
    return storage(objects | {f"backups/{name}{REPORT}": data for name, data in reports.items()})


def test_the_newest_proven_backup() -> None:
    """The newest PROVEN backup is the one whose own last drill proved it; older reports aren't fetched."""
    bucket = proofs(**{
        FIRST: report(FIRST).encode(), SECOND: report(SECOND).encode(), THIRD: report(THIRD, Verdict.INCONCLUSIVE).encode(),
    })  # fmt: skip
    found = newest_proven(Repository(bucket), Repository(bucket).backups())
    assert found
    assert (found.name, len(bucket.fetched)) == (SECOND, 2)


AGED = Check(name="backup age", result="failed", evidence="3 days old")
LOST = Check(name="row counts", result="failed", evidence="19 rows, not 20")


@pytest.mark.parametrize(("verdict", "checks", "proven"), [
    ("FAILED", (AGED,), True), ("FAILED", (AGED, LOST), False), ("FAILED", (LOST,), False), ("FAILED", (), False),
    ("INCONCLUSIVE", (AGED,), False), ("PROVEN", (), True),
])  # fmt: skip
def test_a_backup_that_is_only_too_old_is_proven(verdict: str, checks: tuple[Check, ...], proven: bool) -> None:
    """A backup FAILED only for its age was restored correctly, so prune must keep it as the newest PROVEN."""
    drilled = report(THIRD).model_copy(update={"verdict": Verdict(verdict), "checks": checks})
    assert drilled.contents_hold is proven
    bucket = proofs(**{FIRST: report(FIRST).encode(), THIRD: drilled.encode()})
    found = newest_proven(Repository(bucket), Repository(bucket).backups())
    assert (found and found.name) == (THIRD if proven else FIRST)


@pytest.mark.parametrize("data", [
    report(THIRD, Verdict.FAILED).encode(), report(FIRST).encode(), b"", b"{}", report(THIRD).encode()[:-5],
])  # fmt: skip
def test_what_proves_nothing(data: bytes) -> None:
    """A failed drill, another backup's report and an unreadable report prove nothing."""
    bucket = proofs(**{THIRD: data})
    assert newest_proven(Repository(bucket), Repository(bucket).backups()) is None


def looked_at(bucket: FakeStorage, *listed: str) -> list[tuple[bool, bool, Verdict | None, bool]]:
    """Return what is known of each backup once looked into, when the listing shows only these files."""
    found = backups_in("backups/", [StoredObject(f"backups/{file}", 1, NOW) for file in listed])
    return [(b.has_manifest, b.has_report, b.verdict, b.unfinished) for b in Repository(bucket).looked_into(found)]


def beside(*ends: str, verdict: Verdict = Verdict.PROVEN) -> dict[str, bytes]:
    """Return some of a backup's objects."""
    data = {OBJECT: b"x", MANIFEST: manifest().encode(), REPORT: report(FIRST, verdict).encode()}
    return {f"backups/{FIRST}{end}": data[end] for end in ends}


@pytest.mark.parametrize("verdict", Verdict)
@pytest.mark.parametrize("listed", [(OBJECT,), (OBJECT, MANIFEST), (OBJECT, REPORT), (OBJECT, MANIFEST, REPORT)])
def test_what_a_listing_does_not_show_yet_is_asked_for(listed: tuple[str, ...], verdict: Verdict) -> None:
    """A verdict or manifest missing from the listing counts: otherwise the newest PROVEN backup could be removed."""
    bucket = storage(beside(OBJECT, MANIFEST, REPORT, verdict=verdict))
    assert looked_at(bucket, *(FIRST + end for end in listed)) == [(True, True, verdict, False)]


@pytest.mark.parametrize("there", [(), (REPORT,), (MANIFEST,)])
def test_what_a_listing_shows_still_is_no_backup(there: tuple[str, ...]) -> None:
    """A backup that was removed must not displace one that exists."""
    shown = (FIRST + OBJECT, FIRST + REPORT)
    assert looked_at(storage(beside(*there)), *shown) == []
    assert looked_at(storage(beside()), *shown, FIRST + MANIFEST) == []


def test_what_is_unfinished() -> None:
    """An object of ours without manifest and report; never one of another tool, nor one that was ever drilled."""
    ours = storage(beside(OBJECT))
    assert looked_at(ours, FIRST + OBJECT) == [(False, False, None, True)]
    assert looked_at(ours, FIRST + OBJECT, FIRST + MANIFEST, FIRST + REPORT) == [(False, True, None, False)]
    assert looked_at(storage(beside(OBJECT, REPORT)), FIRST + OBJECT) == [(False, True, Verdict.PROVEN, False)]
    strangers = replace(ours, foreign=True)
    assert looked_at(strangers, FIRST + OBJECT) == [(False, False, None, False)]
