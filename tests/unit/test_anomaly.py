"""Anomalies: every loss of a golden history is told, no good history is warned about, and nothing else matters."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable
from dataclasses import replace
from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tasks.engine.repository.anomaly import find_anomalies, is_ignored
from tasks.engine.repository.anomaly_facts import BackupFacts, TableFacts
from tasks.engine.repository.anomaly_history import history_of
from tasks.engine.repository.catalog import Backup
from tests.histories import FIRST, Database, Step, Table, at, grow, history, vary, warned

HOUR, DAY, WEEK = timedelta(hours=1), timedelta(days=1), timedelta(days=7)


def shop() -> Database:
    """A database of a usual mix: large tables that grow, small ones that don't, one that never changes."""
    return Database.of(orders=200_000, customers=20_000, countries=249, archive=50_000, settings=12)


LIVELY = (grow("orders", 0.01, 0.008), grow("customers", 0.002, 0.001))


def steady(seed: int) -> list[BackupFacts]:
    """Grow by a percent a day."""
    return history(shop(), 100, *LIVELY, seed=seed)


def hourly(seed: int) -> list[BackupFacts]:
    """Grow a little every hour; of each hour of a week there is a backup."""
    return history(shop(), 400, grow("orders", 0.001, 0.0008), every=HOUR, seed=seed)


def weekly_rhythm(seed: int) -> list[BackupFacts]:
    """Take orders on weekdays, and remove old ones on Sundays; at weekends, nobody has a session."""

    def week(database: Database, step: int, chance: random.Random) -> None:
        weekend = step % 7 in (5, 6)
        database["orders"].rows = 200_000 + 8_000 * (step % 7)
        database["sessions"].rows = chance.randint(40, 60) if weekend else chance.randint(700, 900)
        database.seconds = 40 if weekend else 70

    database = shop()
    database.create("sessions", Table(800))
    return history(database, 120, week, seed=seed)


def rotation(parts: int, ahead: int = 1) -> Callable[[int], list[BackupFacts]]:
    """Drop the oldest of some partitions whenever a new one, which is empty, has been created."""

    def rotate(database: Database, step: int, _: random.Random) -> None:
        if step % 10 == 0:
            number = step // 10
            database.create(f"events_{number + ahead}", Table(0, columns=7), "events")
            if number - parts >= 0:
                database.drop(f"events_{number - parts}")
        database[f"events_{step // 10}"].rows += 100_000

    def make(seed: int) -> list[BackupFacts]:
        database = Database.of(customers=50_000)
        for number in range(ahead):
            database.create(f"events_{number}", Table(0, columns=7), "events")
        return history(database, 150, rotate, seed=seed)

    return make


def rotation_by_jobs(seed: int) -> list[BackupFacts]:
    """Create a partition for each day at midnight, and drop the third one before at noon; a year's are there already."""

    def rotate(database: Database, step: int, _: random.Random) -> None:
        day, hour = divmod(step, 24)
        if hour == 0:
            database.create(f"visits_{day}", Table(0, columns=8), "visits")
        elif hour == 12 and day >= 3:
            database.drop(f"visits_{day - 3}")
        if hour == 12 and day % 7 == 6:
            database.drop(f"logs_{day // 7}")
        database[f"visits_{day}"].rows += 4_000
        database[f"logs_{day // 7 + 8}"].rows += 50

    database = Database.of(customers=50_000)
    for number in range(60):
        database.create(f"logs_{number}", Table(8_400 if number < 8 else 0, columns=9), "logs")
    return history(database, 600, rotate, every=HOUR, seed=seed)


def migration(seed: int) -> list[BackupFacts]:
    """Rename a table, move another to a new schema, add a column to every row of a third, and upgrade the server."""

    def migrate(database: Database) -> None:
        database.create("purchases", database.drop("orders"))
        database.tables["archive.archive"] = database.drop("archive")
        database["countries"].columns += 1
        database["countries"].version += 1

    def upgrade(database: Database) -> None:
        database.printed = "18"
        for table in database.tables.values():
            table.version += 1

    return history(shop(), 60, at(30, migrate), at(45, upgrade), seed=seed)


def filling(seed: int) -> list[BackupFacts]:
    """Fill a new database: everything multiplies at first, then calms down."""

    def fill(database: Database, step: int, chance: random.Random) -> None:
        for name, most in (("orders", 500_000), ("customers", 40_000)):
            database[name].rows = min(most, round((database[name].rows + 10) * chance.uniform(1, 3)))
        database.seconds = 2 + database["orders"].rows / 2_000

    return history(Database.of(orders=0, customers=0), 50, fill, seed=seed)


def tiny(seed: int) -> list[BackupFacts]:
    """Fluctuate, with so few rows that every percentage is large."""
    database = Database.of(todo=9, done=30, log=60)
    return history(database, 150, vary("todo", 1, 9), vary("done", 10, 60), vary("log", 20, 90), seed=seed)


def invitations(seed: int) -> list[BackupFacts]:
    """Keep one row or none, for hours each."""

    def invite(database: Database, step: int, chance: random.Random) -> None:
        if chance.random() < 0.05:
            database["invitations"].rows = chance.randint(0, 3)
            database["invitations"].version = step

    database = shop()
    database.create("invitations", Table(1))
    return history(database, 400, invite, every=HOUR, seed=seed)


def queue(seed: int) -> list[BackupFacts]:
    """Hold a queue that is empty half of the time, and otherwise holds anything up to thousands."""

    def work(database: Database, _: int, chance: random.Random) -> None:
        database["queue"].rows = chance.choice([0, 1]) * round(chance.paretovariate(0.6) * 10)

    database = shop()
    database.create("queue", Table(0))
    return history(database, 300, work, *LIVELY, seed=seed)


def seasonal(seed: int) -> list[BackupFacts]:
    """Close the books: at the end of each month, fill a table that makes up a third of the database for three days."""

    def close(database: Database, step: int, _: random.Random) -> None:
        database["closing"].rows = 150_000 if step % 30 in (27, 28, 29) else 0

    database = shop()
    database.create("closing", Table(0))
    return history(database, 150, close, *LIVELY, seed=seed)


def busy_machine(seed: int) -> list[BackupFacts]:
    """Share the machine with others: dumps take half as long or three times as long as usual."""

    def dump(database: Database, _: int, chance: random.Random) -> None:
        database.seconds = 300 * chance.lognormvariate(0, 0.3)

    return history(shop(), 400, dump, *LIVELY[1:], every=HOUR, seed=seed)


def short_dumps(seed: int) -> list[BackupFacts]:
    """Dump in two seconds, or in thirty."""

    def dump(database: Database, _: int, chance: random.Random) -> None:
        database.seconds = chance.choice([2, 2, 2, 2, 2, 2, 2, 2, 2, 30])

    return history(shop(), 200, dump, seed=seed)


def edited(seed: int) -> list[BackupFacts]:
    """Edit a short list now and then, and add rows to an archive."""

    def edit(database: Database, step: int, chance: random.Random) -> None:
        if chance.random() < 0.05:
            database["settings"].version += 1
            database["countries"].version += 1
        if step % 20 == 19:
            database["archive"].rows += 500

    return history(shop(), 150, edit, seed=seed)


def imported(seed: int) -> list[BackupFacts]:
    """Import as much again as there was, in one go; drop a table that was only there for that."""

    def bring(database: Database) -> None:
        database["orders"].rows *= 3
        database.create("staging", Table(400_000))

    return history(shop(), 60, at(30, bring), at(32, lambda database: database.drop("staging")), *LIVELY, seed=seed)


def sessions(seed: int) -> list[BackupFacts]:
    """Have hundreds of sessions by day, hardly any at weekends; the first backup is of a Monday."""

    def week(database: Database, step: int, chance: random.Random) -> None:
        weekend = step // 24 % 7 in (5, 6)
        database["sessions"].rows = chance.randint(20, 30) if weekend else chance.randint(290, 300)

    database = shop()
    database.create("sessions", Table(300))
    return history(database, 500, week, every=HOUR, seed=seed)


def rebuilt(seed: int) -> list[BackupFacts]:
    """Drop a table and build it again every third night, while the backup is made."""

    def build(database: Database, step: int, _: random.Random) -> None:
        if step % 3 == 2:
            database.tables.pop("public.report", None)
        else:
            database.create("report", Table(5_000))

    return history(shop(), 60, build, *LIVELY, seed=seed)


GOOD = [steady, hourly, weekly_rhythm, rotation(12), rotation(3), rotation(2), rotation(3, ahead=3), rotation_by_jobs, migration, filling, tiny, invitations,
        queue, seasonal, sessions, rebuilt, busy_machine, short_dumps, edited, imported]  # fmt: skip


@pytest.mark.parametrize("make", GOOD)
def test_a_good_history_is_not_warned_about(make: Callable[[int], list[BackupFacts]]) -> None:
    """No false alarms: what people stop reading protects nobody."""
    assert [(step, anomaly.sentence) for step, anomaly in warned(make(1))] == []


def delete_all(name: str) -> Callable[[Database], None]:
    """`DELETE` without `WHERE`, or `TRUNCATE`."""

    def lose(database: Database) -> None:
        database[name].rows = 0

    return lose


def delete_share(share: float, *names: str) -> Callable[[Database], None]:
    """A `WHERE` that is too wide."""

    def lose(database: Database) -> None:
        for name in names:
            database[name].rows = round(database[name].rows * (1 - share))

    return lose


def update_all(name: str) -> Callable[[Database], None]:
    """`UPDATE` without `WHERE`."""

    def lose(database: Database) -> None:
        database[name].version += 1

    return lose


def empty_columns(database: Database) -> None:
    """Set most columns of every row to NULL."""
    database["orders"].row_bytes = 40
    database["orders"].version += 1


def drop_parts(*numbers: int) -> Callable[[Database], None]:
    """Drop partitions that are still needed."""

    def lose(database: Database) -> None:
        for number in numbers:
            database.drop(f"events_{number}")

    return lose


def crawl(database: Database) -> None:
    """Dump ten times as slowly, for good."""
    database.seconds *= 10


EVERY = ("orders", "customers", "countries", "archive", "settings")
LOSSES = {
    "delete without where": (delete_all("orders"), "emptied", "public.orders"),
    "truncate of a short list": (delete_all("countries"), "emptied", "public.countries"),
    "truncate of settings": (delete_all("settings"), "emptied", "public.settings"),
    "dropped": (lambda database: database.drop("customers"), "vanished", "public.customers"),
    "a third of everything": (delete_share(1 / 3, *EVERY), "fewer rows", ""),
    "a fifth of everything": (delete_share(0.2, *EVERY), "fewer rows", ""),
    "most of one table": (delete_share(0.9, "customers"), "shrunk", "public.customers"),
    "most of a short list": (delete_share(0.6, "countries"), "shrunk", "public.countries"),
    "update without where of what never changes": (update_all("archive"), "changed", "public.archive"),
    "columns emptied": (empty_columns, "smaller", ""),
    "slow": (crawl, "slower", ""),
}


@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize("lively", [True, False], ids=["growing", "still"])
def test_a_loss_is_told_once(loss: str, lively: bool) -> None:
    """The backup that a loss is first in is warned about, and names the table; the backups after it agree with it."""
    happens, kind, table = LOSSES[loss]
    made = history(shop(), 60, *(LIVELY if lively else ()), at(40, happens))
    found = list(warned(made))
    assert {step for step, _ in found} == {40}
    assert (kind, table) in {(a.kind, a.table) for _, a in found}


@pytest.mark.parametrize(
    "loss", ["delete without where", "truncate of a short list", "dropped", "a third of everything"]
)
def test_three_backups_are_enough_to_know_a_table(loss: str) -> None:
    """The rules need no statistics: the fourth backup of all is judged."""
    happens, kind, table = LOSSES[loss]
    assert [
        s for s, a in warned(history(shop(), 8, at(3, happens), every=HOUR)) if (a.kind, a.table) == (kind, table)
    ] == [3]
    assert list(warned(history(shop(), 8, at(2, happens), every=HOUR))) == []


def partitioned(
    *rows: int, every: timedelta = DAY, steps: int = 40, changes: tuple[Step, ...] = ()
) -> list[BackupFacts]:
    """Return a history of a table whose partitions have some rows."""
    database = Database.of(customers=50_000)
    for number, count in enumerate(rows):
        database.create(f"events_{number}", Table(count, columns=7), "events")
    return history(database, steps, *changes, every=every)


@pytest.mark.parametrize(
    ("rows", "dropped"),
    [([10_000] * 7, range(2, 6)), ([10_000] * 7, range(7)), ([1_000, 5_000_000], [1]), ([700] * 9 + [0] * 27, range(9))],
    ids=["most", "all", "the archive", "all that have rows"],
)  # fmt: skip
def test_partitions_that_no_rotation_drops_are_missed(rows: list[int], dropped: Iterable[int]) -> None:
    """What counts is how many rows go, not how many partitions; it is named by the table that they are part of."""
    found = list(warned(partitioned(*rows, changes=(at(30, drop_parts(*dropped)),))))
    assert (30, "vanished", "public.events") in [(step, a.kind, a.table) for step, a in found]
    assert {step for step, _ in found} == {30}


@pytest.mark.parametrize("every", [HOUR, DAY])
def test_partitions_that_go_one_by_one_are_missed(every: timedelta) -> None:
    """Little by little, a quarter is lost: that is told, and again when a quarter of the rest is."""
    drained = [at(10 + number, drop_parts(number)) for number in range(23)]
    found = [
        (step, a.before, a.now)
        for step, a in warned(partitioned(*[100] * 24, every=every, changes=(*drained,)))
        if a.table
    ]
    assert found[0] == (16, 1800, 1700)
    assert len(found) >= 5


def test_a_rotation_without_replacement_is_usual_when_acknowledged() -> None:
    """Of two partitions one goes, and the next one was created long before: that is told until somebody knows of it."""

    def rotate(database: Database, step: int, _: random.Random) -> None:
        number = step // 10
        if step % 10 == 5 and number > 1:
            database.drop(f"events_{number - 2}")
        database[f"events_{number}"].rows += 1_000

    made = partitioned(*[0] * 9, steps=80, changes=(rotate,))
    assert {step for step, _ in warned(made)} == {25, 35, 45, 55, 65, 75}
    assert {step for step, _ in warned(made, acknowledged={25})} == {25}


def test_a_partition_that_is_lost_again_is_missed_again() -> None:
    """That a loss was told doesn't make it a rotation."""
    parts = dict[str, Table]()

    def lose(database: Database) -> None:
        parts["lost"] = database.drop("events_1")

    def restore(database: Database) -> None:
        database.create("events_1", parts["lost"], "events")

    made = partitioned(
        1_000, 5_000_000, changes=(at(20, lose), at(21, restore), at(24, lose), at(30, restore), at(39, lose))
    )
    assert {step for step, a in warned(made) if a.kind == "vanished"} == {20, 24, 39}


def refilled(name: str, rows: int) -> Callable[[Database], None]:
    """Copy the rows back."""

    def repair(database: Database) -> None:
        database.tables.setdefault(f"public.{name}", Table(0, columns=5)).rows = rows

    return repair


@pytest.mark.parametrize("every", [HOUR, DAY])
@pytest.mark.parametrize(("lose", "kind"), [
    (delete_all("customers"), "emptied"), (lambda database: database.drop("customers"), "vanished"), (delete_share(0.9, "customers"), "shrunk"),
])  # fmt: skip
def test_a_loss_that_was_told_and_repaired_is_told_again(
    lose: Callable[[Database], object], kind: str, every: timedelta
) -> None:
    """It becomes usual only when somebody acknowledges it."""
    losses = (10, 13, 18, 27, 60)
    steps = [at(step, lose) for step in losses] + [at(step + 1, refilled("customers", 20_000)) for step in losses]
    made = history(shop(), 70, *steps, every=every)
    assert [step for step, a in warned(made) if (a.kind, a.table) == (kind, "public.customers")] == list(losses)
    assert [step for step, a in warned(made, acknowledged={10}) if (a.kind, a.table) == (kind, "public.customers")] == [
        10
    ]


def test_a_loss_that_lasts_is_told_once_and_again_after_its_repair() -> None:
    """All backups from the loss to the repair are part of it."""
    made = history(
        shop(),
        40,
        at(10, delete_all("customers")),
        at(20, refilled("customers", 20_000)),
        at(30, delete_all("customers")),
    )
    assert [step for step, a in warned(made) if a.table] == [10, 30]


def test_a_table_that_was_empty_when_it_was_new_is_missed() -> None:
    """A table is created, filled the day after, and emptied by mistake."""
    changes = (
        at(3, lambda d: d.create("customers", Table(0))),
        at(4, refilled("customers", 900)),
        at(14, delete_all("customers")),
    )
    made = history(Database.of(orders=5_000), 30, *changes)
    assert [(step, a.table) for step, a in warned(made)] == [(14, "public.customers")]


def test_manifests_of_1_0_do_not_tell_partitions_apart() -> None:
    """After an upgrade, what was dropped may have been a partition; emptied tables are known all the same."""
    database = Database.of(customers=50_000)
    for number in range(4):
        database.create(f"events_{number}", Table(10_000, columns=7), "events")
    older = [replace(facts, partitions=None) for facts in history(database, 10)]
    database.drop("events_0")
    database["customers"].rows = 0
    found = find_anomalies(database.facts(FIRST + 10 * DAY), older)
    assert [(a.kind, a.table) for a in found] == [("emptied", "public.customers"), ("fewer rows", "")]


def test_a_database_without_partitions_misses_a_table_of_1_0() -> None:
    """Where nothing is partitioned, what is gone was a table."""
    database = shop()
    older = [replace(facts, partitions=None) for facts in history(database, 10)]
    database.drop("customers")
    assert [a.kind for a in find_anomalies(database.facts(FIRST + 10 * DAY), older)] == ["vanished"]


def test_large_objects_are_counted_like_rows() -> None:
    """`lo_unlink` of all large objects is a loss like any other."""
    database = shop()
    database.tables["large objects"] = Table(40)
    made = history(database, 10, at(8, lambda d: setattr(d.tables["large objects"], "rows", 0)))
    assert list(warned(made, ["*"])) == list(warned(made, ["large objects"])) == []
    assert [(step, a.sentence) for step, a in warned(made, ["*.*"])] == [(step, a.sentence) for step, a in warned(made)]
    assert [(step, a.sentence) for step, a in warned(made)] == [(8, "the database had 40 large objects, and has none")]


@pytest.mark.parametrize(
    ("pattern", "matches"),
    [("public.orders", True), ("orders", True), ("public.*", True), ("*", True), ("*.ord*", True), ('public."orders"', True),
     ("order", False), ("sales.orders", False), ("public.Orders", False)],
)  # fmt: skip
def test_what_is_ignored_is_not_judged(pattern: str, matches: bool) -> None:
    """A pattern is `schema.table` or `table`; an ignored table counts for no total either."""
    assert is_ignored("public.orders", [pattern]) is matches
    found = list(warned(history(shop(), 30, at(20, LOSSES["delete without where"][0])), [pattern]))
    assert bool(found) is not matches


def test_a_partition_is_ignored_with_its_table() -> None:
    """The pattern names the table that people know."""
    assert list(warned(rotation(3)(1), ["public.events"])) == []
    database = Database.of(customers=50_000)
    for number in range(7):
        database.create(f"events_{number}", Table(10_000, columns=7), "events")
    assert list(warned(history(database, 20, at(10, drop_parts(*range(7)))), ["events"])) == []


def test_findings_are_bounded_and_worst_first() -> None:
    """Of a thousand lost tables with hostile names, a page is told, without control characters."""
    database = Database({f'public."\x1b[31m{n}{"x" * 200}"': Table(100 + n) for n in range(1000)})
    made = history(database, 5, at(4, lambda d: d.tables.clear()))
    found = [a for _, a in warned(made)]
    assert len(found) == 20
    assert (found[0].before, found[-1].sentence) == (1099, "… and 982 more")
    assert all(len(a.sentence) < 200 and a.sentence.isprintable() for a in found)


TABLES = st.dictionaries(
    st.sampled_from(["public.a", "public.b", "public.c", "public.c_1", "public.c_2", 's."d"', "large objects"]),
    st.builds(TableFacts, st.one_of(st.integers(0, 50), st.integers(0, 1 << 63)), st.integers(0, 1 << 40), st.integers(0, 3), st.integers(0, 1)),
)  # fmt: skip
PARENTS: st.SearchStrategy[dict[str, str] | None] = st.one_of(
    st.none(),
    st.just({}),
    st.just({"public.c_1": "public.c", "public.c_2": "public.c"}),
    st.just({"public.a": "public.a"}),
)
FACTS = st.builds(
    BackupFacts, st.text("ab", min_size=1), st.integers(0, 3000).map(lambda h: FIRST + h * HOUR), st.floats(0, 1e9),
    st.integers(0, 1 << 62), TABLES, PARENTS, st.sampled_from(["17", "18"]),
)  # fmt: skip


@given(FACTS, st.lists(FACTS, max_size=12), st.randoms())
def test_any_history_is_judged_the_same_in_any_order(
    now: BackupFacts, before: list[BackupFacts], chance: random.Random
) -> None:
    """Whatever manifests say, no error; neither the order of backups nor that of tables changes anything."""
    before = list({(b.taken_at, b.name): b for b in before}.values())
    found = find_anomalies(now, before)
    mixed = chance.sample(before, len(before))
    turned = replace(now, tables=dict(reversed(list(now.tables.items()))))
    assert find_anomalies(turned, [replace(b, tables=dict(reversed(list(b.tables.items())))) for b in mixed]) == found
    assert len(found) <= 20


@given(FACTS, st.integers(1, 40))
def test_a_history_that_repeats_itself_is_fine(now: BackupFacts, length: int) -> None:
    """The same backup again and again has no anomaly."""
    assert find_anomalies(now, [replace(now, taken_at=now.taken_at - n * HOUR) for n in range(1, length + 1)]) == ()


@given(FACTS, st.lists(FACTS, max_size=12), st.sampled_from(["public.*", "s.*", "nothing"]))
def test_ignoring_tables_never_adds_a_finding_about_one(
    now: BackupFacts, before: list[BackupFacts], pattern: str
) -> None:
    """What is ignored is not mentioned, and what isn't is judged as before."""
    found = {a for a in find_anomalies(now, before) if a.table}
    less = {a for a in find_anomalies(now, before, [pattern]) if a.table}
    assert less == {a for a in found if not is_ignored(a.table, [pattern])}


@pytest.mark.parametrize(
    "loss",
    ["delete without where", "a third of everything", "a fifth of everything", "most of one table", "columns emptied"],
)
@pytest.mark.parametrize("scale", [3, 1000])
def test_above_the_floors_only_proportions_count(loss: str, scale: int) -> None:
    """A database a thousand times as large is judged like a small one."""

    def scaled(facts: BackupFacts) -> BackupFacts:
        tables = {n: replace(t, rows=t.rows * scale, raw_bytes=t.raw_bytes * scale) for n, t in facts.tables.items()}
        return replace(facts, tables=tables, raw_bytes=facts.raw_bytes * scale)

    database = Database.of(orders=200_000, customers=20_000, countries=9_000, archive=50_000, settings=3_000)
    made = history(database, 40, *LIVELY, at(30, LOSSES[loss][0]))
    assert {(s, a.kind, a.table) for s, a in warned(map(scaled, made))} == {
        (s, a.kind, a.table) for s, a in warned(made)
    }


def listed(*moments: int, size_bytes: int = 1000) -> list[Backup]:
    """Return backups of some hours, with manifests of a size."""
    return [
        Backup(f"b{hour}", FIRST + hour * HOUR, "k", 1, has_manifest=True, has_report=False, manifest_bytes=size_bytes)
        for hour in moments
    ]


def test_a_history_reaches_back_by_hours_days_and_weeks() -> None:
    """Of thousands of backups thirty are read, among them the same hour of other days and the same day of other weeks."""
    chosen = history_of(listed(*range(2000)), FIRST + 2000 * HOUR)
    ages = [2000 - int(b.name[1:]) for b in reversed(chosen)]
    assert ages == [*range(1, 9), *range(24, 15 * 24, 24), *(24 * n for n in range(21, 57, 7))]


def test_large_manifests_are_read_as_far_as_memory_allows() -> None:
    """The newest come first; nothing is read of the future."""
    chosen = history_of(listed(*range(100), size_bytes=4 << 20), FIRST + 90 * HOUR)
    assert [b.name for b in chosen] == ["b87", "b88", "b89", "b90"]
    assert history_of(listed(6, 7), FIRST + 5 * HOUR) == []


def test_a_backup_of_the_same_second_came_before() -> None:
    """Two backups within a second are compared with each other: the later one is named by the next second."""
    second = timedelta(seconds=1)
    first, taken, ahead = (replace(b, taken_at=FIRST + n * second) for n, b in enumerate(listed(1, 2, 3)))
    assert history_of([ahead, taken, first], FIRST + second) == [first, taken, ahead]
