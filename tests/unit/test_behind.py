"""Whoever waits for a copy is told once that a place lacks backups for too long, and once that it has them."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest

from blocks.config.copying import Copying
from blocks.config.destinations import Destination
from blocks.config.plan import Plan
from blocks.disk.folder_store import FolderStore
from tasks.engine.notify.facts import of_copies, read_facts
from tasks.engine.notify.incidents import Incident, decide
from tasks.engine.notify.message import Kind
from tests.plans import plan_of
from tests.unit.test_catch_up import NOW, ago, store_backup

HOUR = timedelta(hours=1)


@pytest.fixture
def plan(tmp_path: Path) -> Plan:
    """A plan with two folders as its places; the second one may be behind for a day."""
    stores = []
    for name in ("primary", "copy"):
        (tmp_path / name).mkdir()
        stores.append(FolderStore.at(str(tmp_path / name), "shop"))
    return replace(
        plan_of(stores[0]), copies=(Destination("copy", stores[1]),), copying=Copying(behind_after_s=86400)
    )  # fmt: skip


def told(plan: Plan, *hours: float) -> list[Kind | None]:
    """Return what is told at each of some moments, in hours from now."""
    before: Incident | None = None
    said = list[Kind | None]()
    for hour in hours:
        now = NOW + hour * HOUR
        decided = decide(before, of_copies(read_facts(plan, now), now), now)
        before = decided.incident or before
        said.append(decided.tell)
    return said


def test_a_place_that_is_behind_is_told_once(plan: Plan) -> None:
    """A place that lacks a backup for longer than COPY_BEHIND_AFTER is told once, and so is that it has it."""
    for hours in (3, 2):
        store_backup(plan.storage, ago(hours))
    copied = plan.copies[0].storage
    store_backup(copied, ago(3))
    assert told(plan, 0, 21) == [None, None]
    assert told(plan, 23, 23.5, 24) == [None, "failed", None]
    said = of_copies(read_facts(plan, NOW + 23 * HOUR), NOW + 23 * HOUR)
    assert said.sentence == "copy lacks 1 backup, the oldest of 25 h ago"
    before = decide(None, replace(said, grace=timedelta(0)), NOW).incident
    store_backup(copied, ago(2))
    fine = of_copies(read_facts(plan, NOW + 24 * HOUR), NOW + 24 * HOUR)
    assert (fine.bad, decide(before, fine, NOW + 24 * HOUR).tell) == (False, "recovered")


def test_a_place_that_is_down_is_told_after_a_while(plan: Plan, tmp_path: Path) -> None:
    """A place that doesn't answer is told once it has not for as long; a moment is nobody's business."""
    store_backup(plan.storage, ago(1))
    (tmp_path / "copy").rename(tmp_path / "elsewhere")
    assert told(plan, 0, 23, 25, 26) == [None, None, "failed", None]
    (tmp_path / "elsewhere").rename(tmp_path / "copy")


def test_a_new_place_has_time(plan: Plan) -> None:
    """A place that was just added, to a plan with a history of months, has as long to get it."""
    for hours in (100, 1):
        store_backup(plan.storage, ago(hours))
    assert told(plan, 0, 23, 25) == [None, None, "failed"]


def test_drills_in_any_place_count(plan: Plan) -> None:
    """The newest backup is that of whichever place: a first place that is behind makes backups no less recent."""
    store_backup(plan.copies[0].storage, ago(1))
    facts = read_facts(plan, NOW)
    assert facts.newest
    assert facts.newest.name == ago(1)
    assert facts.lags["primary"].count == 1
