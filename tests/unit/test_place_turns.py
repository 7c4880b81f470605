"""Drills take a plan's places in turn, so that each is proven by itself."""

from __future__ import annotations

import os
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from blocks.config.destinations import Destination
from blocks.config.plan import Plan
from blocks.disk.folder_store import FolderStore
from blocks.errors import ConfigurationError
from tasks.engine.notify.facts import Facts, unproven_limit
from tasks.engine.repository.place_turns import place_to_drill
from tasks.engine.repository.repository import Repository
from tests.plans import plan_of
from tests.unit.test_catalog import FIRST, report
from tests.unit.test_nearest import keep

NOW = datetime(2026, 12, 31, 12, tzinfo=UTC)


@pytest.fixture
def plan(tmp_path: Path) -> Plan:
    """A plan with three folders, each with the same backup, and a drill every day."""
    stores = {name: FolderStore(tmp_path / name, "shop") for name in ("primary", "copy", "copy2")}
    for store in stores.values():
        store.root.mkdir()
        keep(store, FIRST)
    first, *others = [Destination(name, store) for name, store in stores.items()]
    return replace(plan_of(first.storage), copies=tuple(others))


def drill(place: Destination, at: datetime) -> None:
    """Leave the report of a drill."""
    made = report(FIRST).model_copy(update={"started_at": at, "destination": place.name})
    file = Repository(place.storage).store_report(made)
    assert isinstance(place.storage, FolderStore)
    os.utime(place.storage.root / place.storage.key(file), (at.timestamp(), at.timestamp()))


def test_each_place_has_its_turn(plan: Plan) -> None:
    """Within two rounds each place is drilled, and from then on each in each round."""
    drilled = []
    for day in range(9):
        now = NOW + timedelta(days=day)
        drilled.append(place_to_drill(plan, None, now, print))
        drill(drilled[-1], now)
    for some in (drilled[:6], drilled[6:]):
        assert {place.name for place in some} == {"primary", "copy", "copy2"}


def test_a_key_that_cannot_write_reports(plan: Plan) -> None:
    """Where no drill leaves a report, each place still has its turn."""
    days = [place_to_drill(plan, None, NOW + timedelta(days=day), print).name for day in range(6)]
    assert {*days} == {"copy", "copy2", "primary"}


def test_a_named_backup_is_drilled_where_it_is_unproven(plan: Plan) -> None:
    """Of the places that have it, the one where its last drill is longest ago is taken."""
    first, copy, third = plan.destinations
    drill(first, NOW - timedelta(days=1))
    drill(copy, NOW - timedelta(days=2))
    assert place_to_drill(plan, FIRST, NOW, print) == third
    drill(third, NOW)
    assert place_to_drill(plan, FIRST, NOW, print) == copy


def test_what_cannot_be_drilled_has_no_turn(plan: Plan, tmp_path: Path) -> None:
    """A vanished disk and an empty place are passed over; if nothing is left, the first place's drill says what is wrong."""
    warned = list[str]()
    (tmp_path / "primary").rename(tmp_path / "gone")
    for path in (tmp_path / "copy2" / "shop").glob("backup_*"):
        path.unlink()
    for day in range(3):
        found = place_to_drill(
            plan, None, NOW + timedelta(days=day), lambda text, *values: warned.append(text % values)
        )
        assert found.name == "copy"
    assert len(warned) == 3
    (tmp_path / "copy").rename(tmp_path / "gone too")
    assert place_to_drill(plan, None, NOW, lambda *_: None).name == "primary"


def test_one_place_by_name(plan: Plan) -> None:
    """VERIFY_DESTINATION names the place; a saved plan may name one that it doesn't have."""
    named = replace(plan, drill=replace(plan.drill, destination="copy2"))
    assert place_to_drill(named, None, NOW, print).name == "copy2"
    with pytest.raises(ConfigurationError, match="VERIFY_DESTINATION is copy3, but there is no such place"):
        place_to_drill(replace(plan, drill=replace(plan.drill, destination="copy3")), None, NOW, print)


def test_how_long_a_place_may_be_unproven(plan: Plan) -> None:
    """With three places in turn, each is proven at every third drill, and nobody is told before two rounds are over."""
    assert unproven_limit(plan, Facts(), None, NOW) == timedelta(days=6)
    named = replace(plan, drill=replace(plan.drill, destination="primary"))
    assert unproven_limit(named, Facts(), None, NOW) == timedelta(days=2)
