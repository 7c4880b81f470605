"""The faults of a storage once more, with two places: each fault in either of them, and in both.

One that passes costs a wait, wherever it is. One that stays costs its place the backup and the other nothing; in both,
it ends as with a single place. By default each fault is tried in one place or in both, in turn; `make test-all` tries all.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from blocks.s3.client import ObjectStore
from flows.copy import copy
from flows.demo.services import free_ports
from flows.prune import prune
from flows.restore import restore
from flows.restore_drill import restore_drill
from tasks.engine.repository.names import MANIFEST, name_at
from tasks.engine.servers.programs import Client
from tests.conftest import NewDatabase
from tests.faults.aftermath import Aftermath
from tests.faults.conftest import Look
from tests.faults.http_proxy import Deed, S3Proxy, error, flipped, lagging, short
from tests.faults.servers import at
from tests.faults.test_database_faults import BIG, MIB
from tests.faults.test_storage_faults import (
    DENIED,
    DOWNLOAD_FAILED,
    OBJECTS,
    OVERLOADED,
    PARTS,
    PASSING,
    UPLOAD_FAILED,
    dumps,
    refusing,
    two_old_backups,
)
from tests.integration.objects import asked, take_backup
from tests.integration.proxy import proxy_to
from tests.integration.two_places import Places, files, names

pytestmark = pytest.mark.usefixtures("hurried")

EVERYWHERE = ("primary", "copy")
WHERE = (("primary",), ("copy",), EVERYWHERE)
Where = tuple[str, ...]


def in_turn(*faults: str, soon: str = ".*") -> list[Any]:
    """Return each fault in each choice of places; one of the three runs by default, of the faults that match a pattern."""
    return [
        pytest.param(
            fault,
            where,
            id=f"{fault}, {' and '.join(where)}",
            marks=[] if n == number % 3 and re.fullmatch(soon, fault) else pytest.mark.long,
        )
        for number, fault in enumerate(faults)
        for n, where in enumerate(WHERE)
    ]


def others(where: Where) -> list[str]:
    """Return the places without the fault."""
    return [place for place in EVERYWHERE if place not in where]


@pytest.fixture(autouse=True)
def _left_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """What a run left of an upload counts as left at once, not after an hour."""
    monkeypatch.setattr("tasks.engine.repository.catch_up.IDLE", -timedelta(minutes=1))


@pytest.fixture
def after(places: Places, look: Look, home: Any, caplog: pytest.LogCaptureFixture) -> dict[str, Aftermath]:
    """What was in each place before the fault."""
    return {"primary": look(places.server), "copy": Aftermath(places.copy, home, caplog)}


@pytest.fixture
def big(places: Places) -> None:
    """A database whose backup is uploaded in parts."""
    with places.server.connect(own_names=True) as connection:
        connection.execute(BIG)


def everywhere(places: Places, clients: dict[int, Client]) -> str:
    """Store a backup in both places; return its name."""
    name = name_at(datetime.now(UTC) - timedelta(minutes=5))
    take_backup(places.primary, places.server, clients[16], name)
    same(places)
    return name


def same(places: Places) -> None:
    """Give the copy every file of the first place."""
    for file, data in files(places.primary).items():
        places.copy.put(places.copy.key(file), data)


def assert_nothing_lost(after: dict[str, Aftermath], **options: Any) -> None:
    for seen in after.values():
        seen.assert_nothing_lost(**options)


def assert_the_same(places: Places, name: str) -> None:
    """Both places have this backup, byte for byte, and nothing on its way."""
    there = [{file: data for file, data in files(store).items() if file.startswith(name)} for store in stores(places)]
    assert there[0] == there[1]
    assert [name in names(store) for store in stores(places)] == [True, True]


def stores(places: Places) -> list[ObjectStore]:
    return [places.store(name) for name in EVERYWHERE]


# --- backups ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("fault", "where"), in_turn(*PASSING, soon="503|reset mid-body|lost answer"))
def test_an_upload_that_stumbles(
    fault: str, where: Where, places: Places, after: dict[str, Aftermath], caplog: pytest.LogCaptureFixture
) -> None:  # fmt: skip
    """A fault that passes costs no place its backup, and the dump does not start over."""
    rules = [places.network[place].on("PUT", OBJECTS, PASSING[fault], times=1) for place in where]
    ran = places.backup()
    assert ran.error is None, ran.error
    assert (ran.result.destinations, dumps(caplog), [rule.done for rule in rules]) == (
        list(EVERYWHERE),
        1,
        [1] * len(where),
    )
    assert_the_same(places, ran.result.name)
    assert_nothing_lost(after)


@pytest.mark.usefixtures("big")
@pytest.mark.parametrize(("fault", "where"), in_turn(*PASSING, soon="429"))
def test_a_part_that_stumbles(
    fault: str, where: Where, places: Places, after: dict[str, Aftermath], caplog: pytest.LogCaptureFixture
) -> None:
    """Parts are retried one by one, in the place that lacks them; they are shared, and the same in both."""
    rules = [places.network[place].on("PUT", PARTS, PASSING[fault], times=2) for place in where]
    ran = places.backup()
    assert ran.error is None, ran.error
    assert (ran.result.destinations, dumps(caplog), [rule.done for rule in rules]) == (
        list(EVERYWHERE),
        1,
        [2] * len(where),
    )
    assert_the_same(places, ran.result.name)
    assert_nothing_lost(after)


# Each fault as a deed, the requests that it happens to, and the sentence of a run that it ends.
STAYING: dict[str, tuple[Callable[[S3Proxy], Deed], str, str]] = {
    "denied": (lambda _: error(403, "AccessDenied"), OBJECTS, DENIED),
    "overloaded": (lambda _: OVERLOADED, OBJECTS, UPLOAD_FAILED),
    "refused": (refusing, OBJECTS, UPLOAD_FAILED),
    "manifest denied": (lambda _: error(403, "AccessDenied"), re.escape(MANIFEST), DENIED),
    "bucket gone": (lambda _: error(404, "NoSuchBucket"), OBJECTS, UPLOAD_FAILED),
    "manifest refused": (refusing, re.escape(MANIFEST), UPLOAD_FAILED),
}


@pytest.mark.parametrize(("fault", "where"), in_turn(*STAYING))
def test_an_upload_that_fails(fault: str, where: Where, places: Places, after: dict[str, Aftermath]) -> None:
    """A fault that stays costs only its place the backup, and `copy` brings it there; in both, the run fails."""
    deed, target, sentence = STAYING[fault]
    assert_costs_only_its_place(where, places, after, deed, target, sentence)


@pytest.mark.usefixtures("big")
@pytest.mark.parametrize(("fault", "where"), in_turn("denied", "refused", "overloaded", soon="refused"))
def test_a_part_that_fails(fault: str, where: Where, places: Places, after: dict[str, Aftermath]) -> None:
    """The same when the fault comes in the middle of the upload."""
    deed, _, sentence = STAYING[fault]
    assert_costs_only_its_place(where, places, after, deed, PARTS, sentence, passing=1)


def assert_costs_only_its_place(
    where: Where, places: Places, after: dict[str, Aftermath], deed: Callable[[S3Proxy], Deed], target: str, sentence: str,
    passing: int = 0,
) -> None:  # fmt: skip
    """Back up with a fault, then without: what was possible was done, and nothing is missing in the end."""
    rules = [places.network[p].on("PUT", target, deed(places.network[p]), after=passing) for p in where]
    ran = places.backup()
    assert [rule.done > 0 for rule in rules] == [True] * len(where)
    assert [names(places.store(place)) for place in where] == [[]] * len(where)
    if others(where):
        assert ran.error is None, ran.error
        assert ran.result.destinations == others(where)
    else:
        after["primary"].assert_said(ran, sentence)
        assert [names(store) for store in stores(places)] == [[], []]
    assert_nothing_lost(after, uploads_may_stay=True)
    places.heal()
    ended = places.run(copy) if others(where) else places.backup()
    assert ended.error is None, ended.error
    name = ran.result.name if others(where) else ended.result.name
    assert_the_same(places, name)
    drilled = places.run(restore_drill, places.server, VERIFY_TARGET="database", VERIFY_DESTINATION=where[0])
    assert (drilled.state, drilled.result.destination) == ("PROVEN", where[0])
    assert_nothing_lost(after, uploads_may_stay=True)


@pytest.mark.parametrize(("fault", "where"), in_turn("no uploads listed", "nothing listed"))
def test_a_listing_that_fails(fault: str, where: Where, places: Places, after: dict[str, Aftermath]) -> None:
    """Places that list no uploads, or no backups yet, get every backup all the same, each under a name of its own."""
    for place in where:
        if fault == "no uploads listed":
            places.network[place].on("GET", r"[?&]uploads", error(501, "NotImplemented"))
        else:
            places.network[place].on("GET", "list-type=2", lagging(datetime.now(UTC) - timedelta(hours=1)))
    made = [places.backup() for _ in range(2)]
    assert [ran.error for ran in made] == [None, None]
    assert [ran.result.destinations for ran in made] == [list(EVERYWHERE)] * 2
    places.heal()
    assert [names(store) for store in stores(places)] == [[ran.result.name for ran in made]] * 2
    assert_nothing_lost(after)


@pytest.mark.usefixtures("big")
@pytest.mark.parametrize("resets", [1, pytest.param(99, marks=pytest.mark.long)])
def test_a_database_that_resets_the_connection(resets: int, places: Places, after: dict[str, Aftermath]) -> None:
    """A dump that is cut off midway starts over for both places; if each attempt fails, neither has anything of it."""
    with proxy_to(int(places.server.parameters()["port"])) as network:
        network.reset_after_down, network.resets_left = 20 * MIB, resets
        places.server = at(places.server, network.port)
        ran = places.backup()
    if resets == 1:
        assert ran.error is None, ran.error
        assert (network.resets_left, ran.result.destinations) == (0, list(EVERYWHERE))
        assert_the_same(places, ran.result.name)
    else:
        after["primary"].assert_said(ran, "Cannot connect to database")
        assert [files(store) for store in stores(places)] == [{}, {}]
    assert_nothing_lost(after)


def test_a_database_that_is_not_there(places: Places, after: dict[str, Aftermath]) -> None:
    """Without a database no place gets anything."""
    places.server = at(places.server, free_ports(1)[0])
    after["primary"].assert_said(places.backup(), "Cannot connect to database")
    assert [files(store) for store in stores(places)] == [{}, {}]
    assert_nothing_lost(after)


# --- drills and restores ----------------------------------------------------------------------------------------------

READING: dict[str, tuple[Callable[[S3Proxy], Deed], str]] = {
    "flipped": (lambda _: flipped(1000), "Restore failed"),
    "denied": (lambda _: error(403, "AccessDenied"), DENIED),
    "short": (lambda _: short(0), DOWNLOAD_FAILED),
    "refused": (refusing, DOWNLOAD_FAILED),
    "overloaded": (lambda _: OVERLOADED, DOWNLOAD_FAILED),
    "bucket gone": (lambda _: error(404, "NoSuchBucket"), DOWNLOAD_FAILED),
}


def unreadable(places: Places, where: Where, fault: str) -> None:
    """Let objects be unreadable in some places."""
    for place in where:
        network = places.network[place]
        network.on("GET", OBJECTS, READING[fault][0](network))


@pytest.mark.parametrize(("fault", "where"), in_turn(*READING, soon="denied|flipped"))
def test_a_drill_that_cannot_read(
    fault: str, where: Where, places: Places, clients: dict[int, Client], look: Look
) -> None:
    """Each place is judged by its own drill: a fault of one says nothing of the other."""
    everywhere(places, clients)
    after = look(places.server)
    unreadable(places, where, fault)
    verdict = "FAILED" if fault == "flipped" else "INCONCLUSIVE"
    for place in EVERYWHERE:
        ran = places.run(restore_drill, places.server, VERIFY_TARGET="database", VERIFY_DESTINATION=place)
        assert (ran.state, ran.result.destination) == (verdict if place in where else "PROVEN", place)
        if place in where:
            after.assert_said(ran, READING[fault][1], verdict)
    places.heal()
    after.assert_nothing_lost()


@pytest.mark.parametrize(("fault", "where"), in_turn(*READING, soon="flipped|short"))
def test_a_restore_that_cannot_read(
    fault: str, where: Where, places: Places, clients: dict[int, Client], new_database: NewDatabase, look: Look
) -> None:
    """A restore goes on with the place that has good bytes; without one, the target is unchanged."""
    everywhere(places, clients)
    target = new_database(16)
    after = look(places.server)
    unreadable(places, where, fault)
    ran = places.run(restore, to=target, backup="latest")
    if others(where):
        assert ran.error is None, ran.error
        assert asked(target, "SELECT count(*) FROM books") == [(300,)]
    else:
        after.assert_said(ran, READING[fault][1])
        assert asked(target, "SELECT count(*) FROM pg_tables WHERE schemaname = 'public'") == [(0,)]
    places.heal()
    after.assert_nothing_lost()


# --- prunes -----------------------------------------------------------------------------------------------------------

DELETING: dict[str, Callable[[S3Proxy], Deed]] = {
    "denied": lambda _: error(403, "AccessDenied"),
    "overloaded": lambda _: OVERLOADED,
    "refused": refusing,
}


@pytest.mark.parametrize(("fault", "where"), in_turn(*DELETING))
def test_a_prune_that_cannot_delete(
    fault: str, where: Where, places: Places, clients: dict[int, Client], look: Look, caplog: pytest.LogCaptureFixture
) -> None:
    """A place that deletes nothing keeps everything, and the other is pruned; the next prune finishes the work."""
    old = two_old_backups(places.primary, places.server, clients)
    same(places)
    after = look(places.server)
    for place in where:
        places.network[place].on("DELETE", "", DELETING[fault](places.network[place]))
    ran = places.run(prune)
    assert ran.error is None, ran.error
    assert [old <= set(names(places.store(place))) for place in where] == [True] * len(where)
    assert [old & set(names(places.store(place))) for place in others(where)] == [set()] * len(others(where))
    assert [f"Could not delete 2 old backups in {place}: " in caplog.text for place in where] == [True] * len(where)
    assert [f"Deleted 2 old backups in {place}, kept 1" in caplog.text for place in EVERYWHERE] == [
        place not in where for place in EVERYWHERE
    ]
    places.heal()
    again = places.run(prune)
    assert {b.name for b in again.result.removals} == {f"{place}/{name}" for place in where for name in old}
    assert [old & set(names(store)) for store in stores(places)] == [set(), set()]
    after.assert_nothing_lost(removed=frozenset(old))
