"""A backup goes to all places at once, and whatever one of them lacks is copied there later. On real servers."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from blocks.disk.folder_store import FolderStore
from flows.backup import backup
from flows.copy import copy
from flows.prune import prune
from flows.restore import restore
from flows.restore_drill import restore_drill
from tasks.engine.repository.names import MANIFEST, OBJECT
from tests.conftest import Ended, NewDatabase
from tests.faults.http_proxy import error
from tests.integration.objects import LIBRARY
from tests.integration.s3_servers import running_rclone
from tests.integration.two_places import Places, files, names

OBJECTS = r"\.sql\.gz(\?x-id=\w+)?$"
DENIED = error(403, "AccessDenied")


def test_one_dump_goes_to_both(places: Places) -> None:
    """Object, companion and manifest are the same in both places, of a single dump."""
    ran = places.backup()
    assert ran.error is None, ran.error
    assert ran.result.destinations == ["primary", "copy"]
    assert files(places.primary) == files(places.copy)
    assert {name.partition(".")[2] for name in files(places.copy)} == {"sql.gz", "globals.sql.gz", "manifest.json"}


@pytest.mark.parametrize("away", ["primary", "copy"])
def test_a_place_that_is_down_costs_the_other_nothing(away: str, places: Places) -> None:
    """The backup is made where that is possible; the next run also copies what the other place lacks."""
    other = "copy" if away == "primary" else "primary"
    places.network[away].refuse()
    ran = places.backup()
    assert ran.error is None, ran.error
    assert (ran.result.destinations, files(places.store(away))) == ([other], {})
    places.network[away].listen()
    again = places.backup()
    assert again.error is None, again.error
    assert again.result.destinations == ["primary", "copy"]
    assert files(places.primary) == files(places.copy)
    assert len(names(places.copy)) == 2


@pytest.mark.parametrize("away", ["primary", "copy"])
@pytest.mark.parametrize("what", [OBJECTS, MANIFEST], ids=["object", "manifest"])
def test_a_place_that_fails_in_the_middle(away: str, what: str, places: Places) -> None:
    """Whatever one place refuses, the other has the backup, and `copy` completes the first."""
    other = "copy" if away == "primary" else "primary"
    refused = places.network[away].on("PUT", what, DENIED)
    ran = places.backup()
    assert ran.error is None, ran.error
    assert (ran.result.destinations, names(places.store(away)), refused.done > 0) == ([other], [], True)
    places.network[away].heal()
    copied = places.run(copy)
    assert copied.error is None, copied.error
    assert [(one.backup, one.to) for one in copied.result.copied] == [(ran.result.name, away)]
    assert files(places.primary) == files(places.copy)
    assert places.run(copy).result.copied == []


def test_a_server_of_another_kind(places: Places, tmp_path: Path) -> None:
    """`rclone serve s3` as the second place, with parts: it has the same bytes, is caught up with, drilled and pruned."""
    with places.server.connect(own_names=True) as connection:
        connection.execute(
            "CREATE TABLE big AS SELECT n, md5('a' || n) || md5('b' || n) AS v FROM generate_series(1, 400000) n"
        )
    with running_rclone(tmp_path) as other:
        there = {f"COPY_{name}": value for name, value in other.environment().items() if name.startswith("S3_")}
        copied = other.store(places.environ["COPY_PREFIX"])
        ran = places.backup(**there)
        assert ran.error is None, ran.error
        assert (ran.result.destinations, ran.result.object_bytes > 10_000_000) == (["primary", "copy"], True)
        assert files(places.primary) == files(copied)
        for found in list(copied.list_objects()):
            copied.remove(found.key)
        assert [one.to for one in places.run(copy, **there).result.copied] == ["copy"]
        assert files(places.primary) == files(copied)
        drilled = places.run(restore_drill, places.server, **there, VERIFY_DESTINATION="copy", VERIFY_TARGET="database")
        assert (drilled.state, drilled.result.destination) == ("PROVEN", "copy")
        assert places.run(prune, **there).error is None
        assert names(copied) == [ran.result.name]


def test_both_down_is_an_error(places: Places) -> None:
    """With no place left, the run fails with the storage's error, and nothing is left in either."""
    for network in places.network.values():
        network.on("PUT", OBJECTS, DENIED)
    ran = places.backup()
    assert ran.error
    assert "Access Denied" in ran.error.sentence
    assert (files(places.primary), files(places.copy)) == ({}, {})


def test_as_many_as_are_required(places: Places) -> None:
    """With COPIES_REQUIRED=2 a backup that only one place took is none: the run fails, and leaves nothing."""
    places.network["copy"].on("PUT", OBJECTS, DENIED)
    ran = places.backup(COPIES_REQUIRED="2")
    assert ran.error
    assert (files(places.primary), files(places.copy)) == ({}, {})


def test_a_copy_that_fails_names_the_place(places: Places) -> None:
    """`copy` ends with an error that names the place; the backups of the other stay what they are."""
    places.network["copy"].refuse()
    made = places.backup().result
    ran = places.run(copy)
    assert ran.error
    assert (ran.error.code, "copy:" in ran.error.sentence) == ("PGR-COPIES-MISSING", True)
    assert names(places.primary) == [made.name]


def test_each_place_is_pruned_by_itself(places: Places) -> None:
    """A place that can't be pruned keeps the others from nothing; each follows its own rules."""
    made = places.backup().result
    for store in (places.primary, places.copy):
        for old in ("backup_20240207_143022", "backup_20240208_143022"):
            for end in (OBJECT, MANIFEST):
                data = store.get(store.key(made.name + end)).replace(made.name.encode(), old.encode())
                store.put(store.key(old + end), data)
    places.network["primary"].refuse()
    ran = places.run(prune, COPY_KEEP_YEARLY="5")
    assert ran.error
    assert names(places.copy) == ["backup_20240208_143022", made.name]
    assert len(names(places.primary)) == 3
    places.network["primary"].listen()
    decided = places.run(prune, COPY_KEEP_YEARLY="5").result
    assert [b.name for b in decided.removals] == ["primary/backup_20240207_143022", "primary/backup_20240208_143022"]


def test_the_command(command_line: Callable[..., Ended], new_database: NewDatabase, tmp_path: Path) -> None:
    """`backup` and `copy` on the command line: a folder as the second place, and JSON for scripts."""
    (tmp_path / "copy").mkdir()
    server, there = new_database(16, LIBRARY), {"COPY_PATH": str(tmp_path / "copy")}
    made = command_line("backup", "--json", server=server)
    assert made.status == 0, made.err
    copied = command_line("copy", "--json", **there)
    assert copied.status == 0, copied.err
    assert [one["backup"] for one in json.loads(copied.out)["copied"]] == [json.loads(made.out)["name"]]
    alone = command_line("copy")
    assert (alone.status, "no copies" in alone.err) == (2, True)


def test_a_whole_server_in_two_places(places: Places, new_database: NewDatabase, tmp_path: Path) -> None:
    """Each database of a server goes to both places, and so does the set; what a new place lacks is copied there."""
    other = new_database(16, LIBRARY)
    whole = {"BACKUP_DATABASES": f"{places.server.database}, {other.database}"}
    ran = places.backup(**whole)
    assert ran.error is None, ran.error
    assert files(places.primary) == files(places.copy)
    assert len(files(places.copy)) == 2 * 3 + 1
    (tmp_path / "disk").mkdir()
    copied = places.run(copy, **whole, COPY2_PATH=str(tmp_path / "disk"))
    assert copied.error is None, copied.error
    assert {one.to for one in copied.result.copied} == {"copy2"}
    third = FolderStore.at(str(tmp_path / "disk"), str(places.primary.folder))
    assert files(third) == files(places.primary)


def test_moving_to_another_provider(places: Places, new_database: NewDatabase) -> None:
    """The runbook: the new place as a copy, `copy`, then the new place alone; nothing is lost on the way."""
    old = {name: "" for name in places.environ if name.startswith("COPY_")}
    first = places.run(backup, places.server, **old).result
    assert names(places.copy) == []
    moved = places.run(copy)
    assert [(one.backup, one.to) for one in moved.result.copied] == [(first.name, "copy")]
    assert files(places.copy) == files(places.primary)
    alone = {
        **old, "S3_ENDPOINT": places.environ["COPY_S3_ENDPOINT"], "BACKUP_PREFIX": places.environ["COPY_PREFIX"],
    }  # fmt: skip
    places.network["primary"].refuse()
    second = places.run(backup, places.server, **alone).result
    assert names(places.copy) == [first.name, second.name]
    target = new_database(16)
    assert (
        places.flow_run(restore, to=target, environ={**places.environ, **alone}, backup=first.name).result == first.rows
    )
