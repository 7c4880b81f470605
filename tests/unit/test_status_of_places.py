"""A plan with copies has a status for each place, a list of where each backup is, and metrics of what is behind."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest

from blocks.config.copying import Copying
from blocks.config.destinations import Destination
from blocks.config.plan import Plan
from blocks.disk.folder_store import FolderStore
from blocks.errors import StorageError
from flows import terminal
from tasks.engine.repository.manifest import Check, DrillReport, Verdict
from tasks.engine.repository.members import judged_backups, last_backup_of, last_drill_of
from tasks.engine.repository.repository import Repository
from tasks.status.listing import list_everywhere
from tasks.status.metrics import exposition, read_stock
from tasks.status.page import render
from tasks.status.summary import read_status
from tests.plans import plan_of
from tests.unit.test_catch_up import NOW, ago, store_backup


@pytest.fixture
def plan(tmp_path: Path) -> Plan:
    """A plan with two folders as its places, the first of which has a backup that the second one lacks."""
    stores = []
    for name in ("primary", "copy"):
        (tmp_path / name).mkdir()
        stores.append(FolderStore.at(str(tmp_path / name), "shop"))
    for store in stores:
        store_backup(store, ago(40))
    store_backup(stores[0], ago(30))
    return replace(
        plan_of(stores[0]), copies=(Destination("copy", stores[1]),), copying=Copying(behind_after_s=86400)
    )  # fmt: skip


def drilled(place: Destination, name: str, verdict: Verdict = Verdict.PROVEN, hours_ago: float = 0) -> None:
    """Store the report of a drill in one place."""
    Repository(place.storage).store_report(
        DrillReport(
            tool_version="1",
            backup=name,
            verdict=verdict,
            cause="",
            started_at=NOW - timedelta(hours=hours_ago),
            restore_seconds=1,
            seconds=2,
            checks=(Check(name="row counts", result="passed", evidence=""),),
        )
    )


def test_the_list_says_where_each_backup_is(plan: Plan, capsys: pytest.CaptureFixture[str]) -> None:
    """Each backup is listed once, with the places that have it and the verdict in each."""
    drilled(plan.copies[0], ago(40))
    entries, unread = list_everywhere(plan)
    assert unread == ""
    assert [(e["name"], e["places"], e["verdict"]) for e in entries] == [
        (ago(40), {"primary": None, "copy": "PROVEN"}, "PROVEN"),
        (ago(30), {"primary": None}, None),
    ]
    terminal.show_catalog(entries)
    assert "primary, copy (PROVEN)" in capsys.readouterr().out


def test_the_list_without_a_place(plan: Plan, tmp_path: Path) -> None:
    """A place that is down hides nothing of the others, and is named; without any, it is an error."""
    (tmp_path / "primary").rename(tmp_path / "elsewhere")
    entries, unread = list_everywhere(plan)
    assert ([e["name"] for e in entries], "primary can't be read" in unread) == ([ago(40)], True)
    (tmp_path / "copy").rename(tmp_path / "elsewhere too")
    with pytest.raises(StorageError):
        list_everywhere(plan)


def test_a_single_place_looks_as_before(plan: Plan) -> None:
    """Without copies nothing names a place."""
    alone = plan.at(plan.destinations[0])
    assert "places" not in list_everywhere(alone)[0][0]
    assert "place" not in read_status(alone, NOW).plans[0].document()
    assert b"place_" not in exposition("default", read_stock(alone), {}, {}, NOW)


def test_the_status_of_each_place(plan: Plan) -> None:
    """Each place has its section; one that lacks backups for too long says so, with the command that helps."""
    status = read_status(plan, NOW)
    assert [p.title for p in status.plans] == ["shop (primary)", "shop (copy)"]
    assert [p.document()["place"] for p in status.plans] == ["primary", "copy"]
    said = [(r.text, r.hint) for r in status.plans[1].judgement.reasons]
    assert ("1 backup of other places are not here, the oldest of 30 h ago", "pg-roundtrip copy") in said
    assert "shop (copy)" in render(status)


def test_the_status_with_a_place_down(plan: Plan, tmp_path: Path) -> None:
    """With the first place down, the other one is judged by what it has, and the first one is named."""
    (tmp_path / "primary").rename(tmp_path / "elsewhere")
    status = read_status(plan, NOW)
    assert [p.place for p in status.plans] == ["copy"]
    assert "the place primary can't be read" in status.plans[0].judgement.reasons[0].text


def test_the_metrics_of_each_place(plan: Plan, tmp_path: Path) -> None:
    """Metrics say which place answers, how many backups it lacks and since when; the newest backup is that of any."""
    page = exposition("default", read_stock(plan), {}, {}, NOW).decode()
    assert 'pg_roundtrip_place_missing_backups{place="copy",plan="default"} 1.0' in page
    assert 'pg_roundtrip_place_behind_seconds{place="copy",plan="default"} 108000.0' in page
    assert 'pg_roundtrip_place_behind_seconds{place="primary",plan="default"} 0.0' in page
    (tmp_path / "copy").rename(tmp_path / "elsewhere")
    page = exposition("default", read_stock(plan), {}, {}, NOW).decode()
    assert 'pg_roundtrip_place_readable{place="copy",plan="default"} 0.0' in page
    assert 'pg_roundtrip_catalog_readable{plan="default"} 1.0' in page


def test_backups_and_drills_in_any_place_count(plan: Plan, tmp_path: Path) -> None:
    """Nothing is late because it is in another place than the first: neither a backup nor a drill."""
    store_backup(plan.copies[0].storage, ago(1))
    drilled(plan.copies[0], ago(40))
    assert last_backup_of(plan, NOW) == judged_backups(plan, NOW)[-1].taken_at
    assert judged_backups(plan, NOW)[-1].name == ago(1)
    assert last_drill_of(plan, NOW) == NOW
    (tmp_path / "primary").rename(tmp_path / "elsewhere")
    assert last_drill_of(plan, NOW) == NOW
