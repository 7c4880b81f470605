"""One function decides which backup is the newest, and a wrong clock makes none the newest forever."""

from __future__ import annotations

import random
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from blocks.config.schedule import Schedule
from tasks.engine.repository.catalog import Backup
from tasks.engine.repository.names import name_at
from tasks.engine.repository.newest import CLOCKS_DIFFER, from_future, in_reach, newest, newest_whole, told_of_future
from tasks.engine.repository.outline import outline_of
from tasks.status.figures import BackupFigures, DrillFigures
from tasks.status.health import Health, overdue
from tasks.status.metrics import Stock, exposition
from tests.unit.test_catalog import manifest, report
from tests.unit.test_metrics import values

NOW = datetime(2026, 11, 21, 12, tzinfo=UTC)
SECOND = timedelta(seconds=1)


def backup(age: timedelta, *, whole: bool = True) -> Backup:
    name = name_at(NOW - age)
    return Backup(name, NOW - age, f"b/{name}.sql.gz", 1, has_manifest=whole, has_report=False)


BACKUPS = st.lists(
    st.builds(backup, st.integers(-(10**6), 10**6).map(lambda s: timedelta(seconds=s)), whole=st.booleans()),
    max_size=12,
    unique_by=lambda b: b.name,
)
AHEAD = st.integers(1, 10**9).map(lambda s: backup(-CLOCKS_DIFFER - timedelta(seconds=s)))


@given(BACKUPS, AHEAD)
def test_one_from_the_future_changes_nothing(backups: list[Backup], ahead: Backup) -> None:
    """A backup from the future never replaces the newest one, whatever its name."""
    before = newest(backups, NOW)
    if before and before not in from_future(backups, NOW):
        assert newest([*backups, ahead], NOW) == before
    assert newest_whole([*backups, ahead], NOW) == newest_whole(backups, NOW)


@given(BACKUPS, st.randoms(use_true_random=False))
def test_there_is_a_newest_whenever_there_is_one(backups: list[Backup], shuffle: random.Random) -> None:
    """If a wrong clock named them all, the newest of them is better than none; listing order doesn't matter."""
    found = newest(shuffle.sample(backups, len(backups)), NOW)
    assert (found is None) == (not backups)
    assert found == newest(backups, NOW)
    if found:
        others = [b for b in backups if b not in from_future(backups, NOW)] or backups
        assert found.taken_at == max(b.taken_at for b in others)
        assert in_reach(backups, NOW) == sorted(others, key=lambda b: b.taken_at)


def test_clocks_that_differ_a_little() -> None:
    """Another machine's clock can be minutes ahead of ours: its latest backup counts."""
    old, border, ahead = backup(timedelta(hours=1)), backup(-CLOCKS_DIFFER), backup(-CLOCKS_DIFFER - SECOND)
    assert newest([old, border], NOW) == border
    assert newest([old, ahead], NOW) == old
    assert newest([ahead], NOW) == ahead
    assert newest_whole([ahead], NOW) is None


def test_what_is_said_of_them() -> None:
    """A clock that was wrong once and a clock that is wrong now give different sentences."""
    old, ahead = backup(timedelta(hours=1)), backup(timedelta(days=-365))
    assert told_of_future([old], NOW) == told_of_future([], NOW) == ""
    assert told_of_future([old, ahead], NOW).startswith("1 of 2 backups are dated in the future")
    assert told_of_future([ahead], NOW).startswith("every backup here is dated in the future: this machine's clock")


@pytest.mark.parametrize("started", [timedelta(0), timedelta(days=-27000)])
def test_no_age_is_negative(started: timedelta) -> None:
    """A manifest's times may be forged or from a wrong clock: then the name's time counts, and no age is below zero."""
    one = backup(timedelta(hours=3))
    made = manifest(one.name, started_at=NOW - started, ended_at=NOW - started)
    found = values(
        exposition(
            "shop",
            Stock(readable=True, backups=(one,), newest=one, manifest=BackupFigures.of(outline_of(made))),
            {},
            {},
            NOW,
        )
    )
    assert found["backup_age_seconds"] == (0 if not started else 3 * 3600)
    assert found["backup_last_success_timestamp_seconds"] <= NOW.timestamp()
    near = replace(one, taken_at=NOW + CLOCKS_DIFFER)
    made = manifest(one.name, started_at=near.taken_at, ended_at=near.taken_at - SECOND)
    found = values(
        exposition(
            "shop",
            Stock(readable=True, backups=(near,), newest=near, manifest=BackupFigures.of(outline_of(made))),
            {},
            {},
            NOW,
        )
    )
    assert (found["backup_age_seconds"], found["backup_duration_seconds"]) == (0, 0)


def test_metrics_count_what_is_from_the_future() -> None:
    """Metrics count backups from the future, and a drill dated in the future doesn't hide that drills have stopped."""
    ahead = backup(timedelta(days=-365))
    drilled = report(ahead.name).model_copy(update={"started_at": NOW + timedelta(days=365)})
    found = values(
        exposition("shop", Stock(readable=True, backups=(ahead,), report=DrillFigures.of(drilled)), {}, {}, NOW)
    )
    assert (found["backups"], found["backups_from_future"]) == (1, 1)
    assert "backup_age_seconds" not in found
    assert "drill_timestamp_seconds" not in found
    assert found["drill_verdict/PROVEN"] == 1


def test_health_says_it() -> None:
    """Backups from the future are a warning, not unhealthy: that would restart a container forever."""
    found = Health({"storage": "ok"}, NOW, ["1 of 2 backups are dated in the future"])
    assert found.good
    assert found.document()["warnings"] == ["1 of 2 backups are dated in the future"]
    assert overdue(None, Schedule(3600), NOW - timedelta(days=1), NOW)
