"""One dump goes to several storages at once, and what happens to one costs the others nothing."""

from __future__ import annotations

import secrets
import threading
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Any

import pytest

from blocks.errors import UPLOAD, PgRoundtripError, StorageError, StorageUnreachable
from blocks.s3.providers import MIB, OTHER, PROVIDERS, Provider
from tasks.engine.repository.destinations import Destinations
from tasks.engine.repository.fan_out import FanOut, common
from tasks.engine.repository.names import OBJECT, name_at
from tasks.engine.repository.repository import Repository
from tests.memory_store import MemoryStore

MOMENT = datetime(2026, 11, 21, 2, 7, 13, tzinfo=UTC)
NAME = name_at(MOMENT)
SMALL = replace(OTHER, min_part_bytes=MIB)
AWAY = StorageUnreachable("away", during=UPLOAD)


@dataclass
class Faulty(MemoryStore):
    """A storage in which some requests fail, or wait for a moment that the test chooses."""

    faults: dict[str, PgRoundtripError] = field(default_factory=dict)
    opened: threading.Event = field(default_factory=threading.Event)
    holds: bool = False
    bodies: list[int] = field(default_factory=list)
    alive: bool = True

    def _may(self, what: str) -> None:
        if not self.alive:
            raise AWAY
        if error := self.faults.get(what):
            raise error

    def stat(self, key: str, during: object = None) -> Any:
        self._may("stat")
        return super().stat(key, during)

    def begin_upload(self, key: str) -> str:
        self._may("begin")
        return super().begin_upload(key)

    def put_part(self, key: str, upload_id: str, number: int, body: Any) -> str:
        self._may("part")
        if self.holds:
            assert self.opened.wait(60)
        self.bodies.append(id(body))
        return super().put_part(key, upload_id, number, body)

    def complete_upload(self, key: str, upload_id: str, tags: Any) -> None:
        self._may("complete")
        super().complete_upload(key, upload_id, tags)

    def put(self, key: str, data: bytes, content_type: str = "application/json") -> None:
        self._may("put")
        super().put(key, data, content_type)


@dataclass
class Said:
    """What was said of destinations that were left out."""

    of: dict[str, str] = field(default_factory=dict)
    then: Callable[[], None] = lambda: None

    def __call__(self, name: str, error: PgRoundtripError) -> None:
        self.of[name] = error.sentence
        self.then()


@pytest.fixture
def said() -> Said:
    """What was said."""
    return Said()


@pytest.fixture
def two() -> tuple[Faulty, Faulty]:
    """Two storages."""
    return Faulty(), Faulty()


def destinations(two: tuple[Faulty, Faulty], **how: Any) -> Destinations:
    return Destinations({"primary": Repository(two[0]), "copy": Repository(two[1])}, **how)


def sent(
    there: Destinations, said: Said, size: int, during: Callable[[int], None] = lambda _: None
) -> tuple[str, bytes]:
    """Send an object of a size, in small parts; `during` is called before each MiB."""
    data = secrets.token_bytes(size)
    name, sink = there.begin(MOMENT, 0, said)
    try:
        for start in range(0, size, MIB):
            during(start // MIB)
            sink.write(data[start : start + MIB])
        sink.complete()
    except BaseException:
        sink.abort()
        raise
    return name, data


@pytest.fixture(autouse=True)
def _small_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tasks.engine.repository.fan_out.part_size_bytes", lambda *_: MIB)


@pytest.mark.parametrize("size", [0, 10, MIB, 5 * MIB, 5 * MIB + 17])
def test_both_have_the_same_bytes(two: tuple[Faulty, Faulty], said: Said, size: int) -> None:
    """The object is the same in all destinations, nothing else is left, and its parts are in memory once."""
    there = destinations(two)
    name, data = sent(there, said, size)
    assert name == NAME
    assert [store.objects for store in two] == [{two[0].key(name + OBJECT): data}] * 2
    assert [store.uploads for store in two] == [{}, {}]
    assert sorted(two[0].bodies) == sorted(two[1].bodies)
    assert (there.away, said.of, list(there.holding)) == ({}, {}, ["primary", "copy"])


@pytest.mark.parametrize("at_fault", [0, 1], ids=["primary", "copy"])
@pytest.mark.parametrize("fault", ["stat", "begin", "part", "complete", "dies"])
def test_one_that_fails_costs_the_other_nothing(
    two: tuple[Faulty, Faulty], said: Said, at_fault: int, fault: str
) -> None:
    """Whatever fails, and whenever, in one destination: the other one has the whole object, and the first nothing."""
    bad, good = two[at_fault], two[1 - at_fault]
    bad.faults = {fault: StorageError(fault, during=UPLOAD)}

    def during(number: int) -> None:
        bad.alive = fault != "dies" or number < 3

    there = destinations(two)
    name, data = sent(there, said, 5 * MIB, during)
    assert good.objects == {good.key(name + OBJECT): data}
    assert bad.objects == {}
    assert list(said.of) == [("primary", "copy")[at_fault]] == list(there.away)
    assert list(there.holding) == [("copy", "primary")[at_fault]]
    assert good.uploads == {}
    if fault in ("part", "complete"):
        assert bad.uploads == {}


@pytest.mark.parametrize("fault", ["stat", "begin", "part", "complete"])
@pytest.mark.parametrize("required", [1, 2])
def test_too_few_is_an_error_that_leaves_nothing(
    two: tuple[Faulty, Faulty], said: Said, fault: str, required: int
) -> None:
    """With fewer than COPIES_REQUIRED the run fails with the storage's error, and nothing half-done remains anywhere."""
    for store in two[: 2 if required == 1 else 1]:
        store.faults = {fault: StorageError(fault, during=UPLOAD)}
    with pytest.raises(StorageError, match=fault):
        sent(destinations(two, required=required), said, 5 * MIB)
    assert [store.objects for store in two] == [{}, {}]
    assert [store.uploads for store in two] == [{}, {}]


def test_a_dump_that_dies_leaves_nothing(two: tuple[Faulty, Faulty], said: Said) -> None:
    """An error of the dump aborts the upload in every destination."""

    def during(number: int) -> None:
        if number == 4:
            raise StorageError("the dump died")

    with pytest.raises(StorageError, match="the dump died"):
        sent(destinations(two), said, 5 * MIB, during)
    assert [store.objects for store in two] == [{}, {}]
    assert [store.uploads for store in two] == [{}, {}]


@pytest.mark.parametrize("slow", [0, 1], ids=["primary", "copy"])
def test_one_to_which_nothing_gets_through_is_left_out(two: tuple[Faulty, Faulty], said: Said, slow: int) -> None:
    """A destination that holds up the backup for too long falls behind; the other one has it."""
    bad, good = two[slow], two[1 - slow]
    bad.holds, said.then = True, bad.opened.set
    there = destinations(two, patience_s=0.2)
    name, data = sent(there, said, 5 * MIB)
    assert good.objects == {good.key(name + OBJECT): data}
    assert list(said.of) == [("primary", "copy")[slow]]
    assert "held up the backup" in next(iter(said.of.values()))


def test_a_slow_one_is_waited_for(two: tuple[Faulty, Faulty], said: Said) -> None:
    """A destination that is slower than the first, but within the bound, has the backup like the others."""
    two[1].holds = True

    def during(number: int) -> None:
        if number == 2:  # two parts are in flight, and the third would wait
            two[1].opened.set()

    there = destinations(two, patience_s=60)
    name, data = sent(there, said, 5 * MIB, during)
    assert [store.objects for store in two] == [{two[0].key(name + OBJECT): data}] * 2
    assert said.of == {}


def test_the_last_one_is_waited_for_without_a_bound(two: tuple[Faulty, Faulty], said: Said) -> None:
    """Nobody is left out for being slow if too few would have the backup then."""
    two[1].holds = True
    timer = threading.Timer(0.3, two[1].opened.set)
    timer.start()
    there = destinations(two, required=2, patience_s=0.05)
    name, data = sent(there, said, 5 * MIB)
    timer.join()
    assert [store.objects for store in two] == [{two[0].key(name + OBJECT): data}] * 2


@pytest.mark.parametrize("taken", [0, 1], ids=["primary", "copy"])
def test_a_name_that_is_taken_in_one_is_taken(two: tuple[Faulty, Faulty], said: Said, taken: int) -> None:
    """No backup gets a name that another has in any destination, whether it is stored or on its way."""
    key = two[taken].key(NAME + OBJECT)
    two[taken].put(key, b"another")
    two[taken].begin_upload(two[taken].key(name_at(MOMENT.replace(second=14)) + OBJECT))
    there = destinations(two)
    assert there.free_name(MOMENT) == name_at(MOMENT.replace(second=14))
    name, _ = sent(there, said, 10)
    assert name > name_at(MOMENT.replace(second=14))
    assert two[taken].objects[key] == b"another"
    assert [len(store.uploads) for store in two] == [taken == 0, taken == 1]


def test_an_abort_releases_a_blocked_write(
    two: tuple[Faulty, Faulty], said: Said, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A run that is told to stop doesn't wait for a storage that hangs."""
    monkeypatch.setattr("tasks.engine.repository.fan_out._ABORT_S", 0.1)
    for store in two:
        store.holds = True
    _, sink = destinations(two).begin(MOMENT, 0, said)
    failed: list[BaseException] = []

    def write() -> None:
        try:
            sink.write(bytes(5 * MIB))
        except BaseException as error:  # noqa: BLE001
            failed.append(error)

    writing = threading.Thread(target=write)
    writing.start()
    sink.abort()
    writing.join(60)
    for store in two:
        store.opened.set()
    assert not writing.is_alive()
    assert failed


def test_parts_suit_every_provider() -> None:
    """A part has a size that each of the destinations takes."""
    strict = Provider("strict", max_parts=100, max_part_bytes=20 * MIB, equal_parts=True)
    found = common([OTHER, strict])
    assert (found.max_parts, found.max_part_bytes, found.equal_parts) == (100, 20 * MIB, True)
    assert common([OTHER]) == OTHER
    assert common(PROVIDERS).max_parts == min(p.max_parts for p in PROVIDERS)


def test_large_parts_are_in_one_file(two: tuple[Faulty, Faulty], said: Said, monkeypatch: pytest.MonkeyPatch) -> None:
    """Parts that are too large for memory wait in a file that all uploads read at the same time."""
    monkeypatch.setattr("tasks.engine.repository.parts.MEMORY_PART_BYTES", 0)
    there = destinations(two)
    name, data = sent(there, said, 5 * MIB + 3)
    assert [store.objects for store in two] == [{two[0].key(name + OBJECT): data}] * 2


def test_without_copies_it_is_an_upload(said: Said) -> None:
    """With one destination nothing is shared and nobody is asked twice."""
    store = Faulty(provider=SMALL)
    there = Destinations({"primary": Repository(store)})
    _, sink = there.begin(MOMENT, 0, said)
    assert not isinstance(sink, FanOut)
    store.alive = False
    with pytest.raises(StorageUnreachable):
        there.free_name(MOMENT)
