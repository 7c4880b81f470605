"""`pg-roundtrip status` answers from the bucket alone, and shows every folder beside its own."""

from __future__ import annotations

import json
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr

from blocks.s3.client import ObjectStore
from blocks.s3.folders import folders_beside
from blocks.sql.server import Server
from flows.backup import backup
from flows.demo.services import Storage
from flows.restore_drill import restore_drill
from tasks.clock import utc_now
from tasks.engine.repository import facts
from tasks.engine.repository.manifest import Verdict
from tasks.engine.repository.names import MANIFEST, OBJECT, REPORT, name_at
from tasks.status.summary import read_status
from tests.conftest import Ended, FlowRun, NewDatabase
from tests.integration.objects import LIBRARY
from tests.plans import plan_of
from tests.unit.test_catalog import manifest, report

CommandLine = Callable[..., Ended]


def kept(store: ObjectStore, age: timedelta, verdict: Verdict | None = None, database: str = "shop") -> str:
    """Store a backup as listed, with its documents; its object is not one that could be restored."""
    taken = utc_now() - age
    name = name_at(taken)
    store.put(store.key(name + OBJECT), b"x" * 100)
    made = manifest(name, database=database, system_identifier="1", started_at=taken, ended_at=taken)
    store.put(store.key(name + MANIFEST), made.encode())
    if verdict:
        done = report(name, verdict).model_copy(update={"started_at": taken})
        store.put(store.key(name + REPORT), done.encode())
    return name


@pytest.fixture(autouse=True)
def tree(storage_server: Storage, storage: ObjectStore) -> Callable[[str], ObjectStore]:
    """A function that returns a folder beside this test's own, which has no other test's folder beside it."""
    storage.folder += "/tree/own"

    def beside(name: str) -> ObjectStore:
        return storage_server.store(storage.folder.removesuffix("own") + name)

    return beside


def test_a_round_trip_is_fine(
    command_line: CommandLine, flow_run: FlowRun, new_database: NewDatabase, storage: ObjectStore, tmp_path: Path
) -> None:
    """A backup and a drill turn the answer from bad to fine, and exit status 1 to 0; the page is a file."""
    server = new_database(16, LIBRARY)
    plan = plan_of(storage, server)
    assert read_status(plan, utc_now()).judgement.sentence == "Bad: there is no backup"
    flow_run(backup, server)
    done = command_line("status", server=server)
    assert (done.status, done.out.splitlines()[0]) == (1, "Attention: no backup is PROVEN yet")
    assert "HINT: pg-roundtrip drill" in done.out
    flow_run(restore_drill, server)
    page = tmp_path / "status.html"
    done = command_line("status", "--html", str(page), "--json", server=server)
    assert done.status == 0, done.err
    found = json.loads(done.out)
    assert found["sentence"].startswith("Fine: last backup ")
    assert "restore takes" in found["sentence"]
    (only,) = found["plans"]
    assert (only["status"], only["backups"], only["points"][-1]["verdict"]) == ("fine", 1, "PROVEN")
    assert found["sentence"] in page.read_text()


def test_a_file_that_cannot_be_written(command_line: CommandLine, storage: ObjectStore) -> None:
    """That is an error of usage, and says which file."""
    kept(storage, timedelta(minutes=5), Verdict.PROVEN)
    done = command_line("status", "--html", "/nowhere/status.html")
    assert done.status == 2
    assert "/nowhere/status.html cannot be written [No such file or directory]" in done.err


def test_a_bucket_that_does_not_answer_is_bad(command_line: CommandLine) -> None:
    """The sentence says so, with no address in it."""
    done = command_line("status", S3_BUCKET="no-such-bucket")
    assert (done.status, done.err) == (1, "")
    assert done.out.startswith("Bad: the bucket cannot be read: ")


def test_all_plans_of_a_tree(tree: Callable[[str], ObjectStore], storage: ObjectStore) -> None:
    """Folders beside the plan's own are judged too; one without backups is not shown, and one that failed is named."""
    kept(storage, timedelta(minutes=5), Verdict.PROVEN)
    for hours in (1, 2, 3):
        kept(tree("blog"), timedelta(hours=hours), Verdict.PROVEN, "blog")
    kept(tree("crm"), timedelta(hours=1), Verdict.FAILED, "crm")
    tree("photos").put(tree("photos").key("cat.jpg"), b"meow")
    assert [store.folder.rpartition("/")[2] for store in folders_beside(storage, "backup_")] == ["blog", "crm"]
    found = read_status(plan_of(storage), utc_now())
    assert [plan.title for plan in found.plans] == ["shop", "blog", "crm"]
    assert [plan.judgement.colour.value for plan in found.plans] == ["fine", "fine", "bad"]
    assert found.judgement.sentence.startswith("Bad: crm: the newest drill FAILED")
    assert found.judgement.sentence.endswith("; 2 of 2 other databases fine")
    assert found.note == ""
    parent = replace(storage, folder=storage.folder.removesuffix("/own"))
    assert [plan.title for plan in read_status(plan_of(parent), utc_now()).plans] == ["blog", "crm", "shop"]
    assert read_status(plan_of(tree("empty")), utc_now()).judgement.sentence == "Bad: there is no backup"


def test_several_databases_in_one_folder(storage: ObjectStore) -> None:
    """Each has a sentence of its own."""
    kept(storage, timedelta(minutes=5), Verdict.PROVEN, "shop")
    kept(storage, timedelta(minutes=6), Verdict.PROVEN, "blog")
    found = read_status(plan_of(storage, Server(url=SecretStr("postgresql://u:p@127.0.0.1:1/shop"))), utc_now())
    assert [(plan.plan, plan.title) for plan in found.plans] == [("default", "shop"), ("", "blog")]
    assert found.judgement.sentence.startswith("Attention: shop: ")
    assert "keeps 1 backup of another database: blog" in found.judgement.sentence


def read_from(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Return a list to which the kind of each file that is read of a bucket will be added."""
    read: list[str] = []

    def counting(real: Callable[..., Any]) -> Callable[..., Any]:
        def call(store: ObjectStore, key: str, *rest: Any) -> Any:
            read.append(f"{real.__name__} {key.partition('.')[2]}")
            return real(store, key, *rest)

        return call

    for name in ("get", "open_range", "stat"):
        monkeypatch.setattr(ObjectStore, name, counting(getattr(ObjectStore, name)))
    return read


def test_many_backups_are_read_once(tree: Callable[[str], ObjectStore], monkeypatch: pytest.MonkeyPatch) -> None:
    """A second look costs the listing and nothing else, in another process too; few manifests are read whole."""
    store = tree("many")
    store.config["max_pool_connections"] = 16
    ages = [timedelta(minutes=5 + 60 * n) for n in range(300)]
    with ThreadPoolExecutor(16) as pool:
        list(pool.map(lambda age: kept(store, age, Verdict.PROVEN if age.seconds < 7200 else None), ages))
    read = read_from(monkeypatch)
    found = read_status(plan_of(store), utc_now())
    assert found.plans[0].backups == 300
    assert 0 < read.count("get manifest.json") <= 150
    for _ in range(2):
        read.clear()
        assert read_status(plan_of(store), utc_now()).plans[0].points == found.plans[0].points
        assert read == []
        facts._caches.clear()
