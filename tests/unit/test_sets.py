"""What a set's document says is checked when it is read, and one of which nothing is left is forgotten."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from blocks.config.databases import folder_for
from blocks.errors import BackupDamaged, NoBackups
from blocks.s3.client import StoredObject
from tasks.engine.repository.names import set_file, set_name_at
from tasks.engine.repository.set_choice import perhaps_forgotten, told_of_future_sets
from tasks.engine.repository.sets import BackupSet, SetMember, Sets, contents_of, forgotten, read_set
from tests.memory_store import MemoryStore

NOON = datetime(2026, 11, 21, 12, tzinfo=UTC)


def set_of(hour: int, *members: tuple[str, str]) -> BackupSet:
    """A set with these members: a database, and the name of its backup."""
    moment = NOON.replace(hour=hour)
    return BackupSet(
        tool_version="1", plan="default", name=set_name_at(moment), started_at=moment, ended_at=moment,
        members=tuple(SetMember(database=d, folder=folder_for(d), backup=b) for d, b in members),
    )  # fmt: skip


def test_a_set_reads_back() -> None:
    """What was written is what is read, failures included."""
    made = set_of(3, ("Shop", "backup_20261121_030000"), ("crm", ""))
    assert read_set(made.encode(), made.name) == made
    assert (made.counted, [m.database for m in made.failed]) == ("1 of 2", ["crm"])


@pytest.mark.parametrize("folder", ["../other", "evidence", "crm", "Shop"])
@pytest.mark.parametrize("backup", ["backup_20261121_030000", ""])
def test_a_forged_folder_is_refused(folder: str, backup: str) -> None:
    """A document can't lead to what isn't the folder of the database that it names."""
    made = set_of(3, ("shop", backup))
    forged = made.model_copy(update={"members": (made.members[0].model_copy(update={"folder": folder}),)})
    with pytest.raises(BackupDamaged, match="other databases"):
        read_set(forged.encode(), forged.name)


@pytest.mark.parametrize(
    "member",
    [
        SetMember(database="shop", folder="", backup="backup_20261121_030000"),
        SetMember(database="", folder=""),
        SetMember(database="", folder="q"),
        SetMember(database="shop", folder="shop", backup="backup_20261399_030000"),
    ],
)
def test_a_member_is_a_database_with_its_folder(member: SetMember) -> None:
    """Only one that the server doesn't have has no folder, and none has no name."""
    made = set_of(3).model_copy(update={"members": (member,)})
    with pytest.raises(BackupDamaged, match="other databases"):
        read_set(made.encode(), made.name)
    missing = made.model_copy(update={"members": (SetMember(database="shop", folder=""),)})
    assert read_set(missing.encode(), made.name) == missing


@given(st.binary(max_size=200))
def test_no_document_but_a_set_s(data: bytes) -> None:
    """Anything else is damaged, and nothing worse happens."""
    with pytest.raises(BackupDamaged):
        read_set(data, "set_20261121_030000")


def test_another_set_s_document_is_refused() -> None:
    """A copy under another name is no set."""
    with pytest.raises(BackupDamaged, match="another set"):
        read_set(set_of(3).encode(), "set_20261121_040000")


def _stored(key: str) -> StoredObject:
    return StoredObject(key, 5, NOON)


def test_what_is_in_the_folders() -> None:
    """Only backups in folders of databases count, and documents that have a set's name."""
    keys = [
        "p/shop/backup_20261121_030000.sql.gz", "p/.-shop/backup_20261121_040000.sql.gz", "p/backup_20261121_030000.sql.gz",
        "p/Shop/backup_20261121_030000.sql.gz", "p/shop/old/backup_20261121_030000.sql.gz", "p/sets/set_20261121_030000.json",
        "p/sets/set_x.json", "p/sets/backup_20261121_030000.sql.gz", "p/evidence/backup_20261121_030000.sql.gz",
    ]  # fmt: skip
    found = contents_of("p/", map(_stored, keys))
    assert list(found.backups) == [".-shop", "shop"]
    assert found.sets == ("set_20261121_030000",)


def test_a_set_is_forgotten_with_its_last_backup() -> None:
    """Not before; only those of which no backup is in their time are read to find out."""
    sets = [
        set_of(1, ("a", "backup_20261121_010000")),
        set_of(2, ("a", "backup_20261121_020000"), ("b", "")),
        set_of(3, ("a", "")),
    ]
    found = contents_of("", [_stored("a/backup_20261121_020000.sql.gz")])
    assert forgotten(sets, found.backups) == [sets[0], sets[2]]
    assert forgotten(sets, {}) == sets
    names = [one.name for one in sets]
    assert perhaps_forgotten(names, found.backups) == [names[0], names[2]]
    assert perhaps_forgotten(names, {}) == names


@given(st.lists(st.tuples(st.integers(0, 9), st.integers(1, 9)), max_size=4, unique_by=lambda run: run[0]), st.data())
def test_no_forgotten_set_is_missed(runs: list[tuple[int, int]], data: st.DataObject) -> None:
    """As long as runs take turns, those that are read are all that may have nothing left."""
    sets = [
        set_of(hour, *((f"d{n}", f"backup_20261121_{hour:02}{n:02}00") for n in range(many))) for hour, many in runs
    ]
    left = [(m.folder, m.backup) for one in sets for m in one.members if data.draw(st.booleans())]
    found = contents_of("", [_stored(f"{folder}/{name}.sql.gz") for folder, name in left])
    read = perhaps_forgotten([one.name for one in sets], found.backups)
    assert {one.name for one in forgotten(sets, found.backups)} == set(read)


def test_the_set_of_the_plan_s_own_patterns_is_the_newest() -> None:
    """A run for a few databases beside that of all hides none; documents without patterns count for every plan."""
    full = set_of(2, ("a", "backup_20261121_020000"), ("b", "")).model_copy(update={"patterns": ("*",)})
    few = set_of(3, ("a", "backup_20261121_030000")).model_copy(update={"patterns": ("!b", "a")})
    sets = stored(set_of(1), full, few)
    assert sets.latest(("*",), NOON) == full
    assert sets.latest((), NOON) == few
    assert sets.latest(("a", "!b"), NOON) == few
    assert sets.latest(("x",), NOON).name == set_of(1).name
    assert sets.newest_by_others(few, NOON) == full
    assert stored(full, few).latest(("x",), NOON) == few
    old = read_set(few.encode().replace(b'"patterns"', b'"unknown"'), few.name)
    assert (old.patterns, old.is_of(("*",))) == ((), True)


def test_an_older_set_never_passes_for_the_newest() -> None:
    """To restore the newest, its document must be readable; to know the databases, an older one will do."""
    sets, real = stored(set_of(3)), set_of(2)
    sets.store.put(sets.store.key(set_file(real.name)), real.encode())
    sets.store.put(sets.store.key(set_file(set_of(3).name)), b"{")
    assert sets.newest(sets.names(), (), NOON) == real
    with pytest.raises(BackupDamaged):
        sets.latest((), NOON)


def test_claims_that_a_killed_run_left_are_swept() -> None:
    """They are aborted a day later; those of backups in the folders of databases are not a set's."""
    store = MemoryStore()
    for key in (set_file(set_of(3).name), "shop/backup_20261121_030000.sql.gz", "sets/other"):
        store.begin_upload(store.key(key))
    later = datetime.now(UTC) + timedelta(days=2)
    assert list(Sets(store).sweep(later)) == [store.key(set_file(set_of(3).name))]
    assert len(store.uploads) == 2


def stored(*sets: BackupSet) -> Sets:
    """A storage with these sets."""
    found = Sets(MemoryStore())
    for one in sets:
        found.store.put(found.store.key(set_file(one.name)), one.encode())
    return found


def test_a_set_from_the_future_is_never_the_newest() -> None:
    """A wrong clock's set, or a forged one, hides no other, is told, and is the newest only where there is no other."""
    real, ahead = set_of(3, ("shop", "backup_20261121_030000")), set_of(13, ("crm", "backup_20261121_030000"))
    forged = ahead.model_copy(update={"name": "set_99991231_235959"})
    sets = stored(real, ahead, forged)
    assert sets.newest(sets.names(), (), NOON) == sets.latest((), NOON) == real
    assert told_of_future_sets(sets.names(), NOON).startswith(f"2 sets are dated in the future ({ahead.name})")
    assert not told_of_future_sets([real.name], NOON)
    assert stored(forged).latest((), NOON) == forged
    with pytest.raises(NoBackups):
        stored().latest((), NOON)


def test_two_runs_at_once_write_two_sets() -> None:
    """Runs that began in the same second, and end at the same moment, don't overwrite each other's set."""
    store = MemoryStore()
    sets = Sets(store)

    class Racing(MemoryStore):
        """Where another run writes its set between our look at the name and our own writing."""

        def begin_upload(self, key: str) -> str:
            if not sets.names():
                sets.write(set_of(3, ("crm", "backup_20261121_030000")))
            return super().begin_upload(key)

    racing = Racing(objects=store.objects, moments=store.moments)
    ours = Sets(racing).write(set_of(3, ("shop", "backup_20261121_030000")))
    assert len(sets.names()) == 2
    assert sets.read(ours.name).members[0].database == "shop"
    assert not racing.uploads
