"""A restore reads from the nearest place that answers, and goes on in another one that has the same backup."""

from __future__ import annotations

import errno
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from blocks.config.destinations import Destination
from blocks.config.plan import Plan
from blocks.disk.folder_store import FolderStore
from blocks.errors import FolderMissing, NoBackups, ObjectMissing, StorageUnreachable
from tasks.engine.repository.continued import continued
from tasks.engine.repository.names import GLOBALS, MANIFEST, OBJECT
from tasks.engine.repository.nearest import answers, nearest
from tests.memory_store import MemoryStore
from tests.plans import plan_of
from tests.unit.test_catalog import FIRST, SECOND, manifest

NOW = datetime(2026, 12, 31, tzinfo=UTC)
DATA = bytes(range(256)) * 8


class Broken(MemoryStore):
    """A storage whose connection breaks for good after some bytes."""

    after = 0

    def open_range(self, key: str, start: int = 0, length: int | None = None) -> Iterator[bytes]:
        """Yield the bytes before the break, one by one."""
        for at in range(start, min(self.after, start + (length or len(DATA)))):
            yield DATA[at : at + 1]
        if self.after < start + (length or len(DATA)):
            raise StorageUnreachable(key)

    def get(self, key: str, limit_bytes: int = 0) -> bytes:  # noqa: ARG002  (what the storage is asked)
        """Never answer."""
        raise StorageUnreachable(key)


def said(told: list[Any]) -> Any:
    return lambda *each: told.append(each[:3])


@pytest.mark.parametrize("cut", [0, 1, 255, len(DATA) - 1, len(DATA)])
def test_the_bytes_go_on_where_they_broke(cut: int) -> None:
    """Whatever the byte at which a place fails, the whole is the same, and later readings stay with the other place."""
    first, second, told = Broken("one"), MemoryStore("two"), list[Any]()
    first.after = cut
    key = second.key("x")
    second.objects[key] = DATA
    store = continued({"primary": first, "copy": second}, said(told))
    assert store.key("x") == "one/x"
    assert b"".join(store.open_range("one/x")) == DATA
    assert told == ([] if cut == len(DATA) else [("primary", "copy", cut)])
    assert b"".join(store.open_range("one/x", 100, 500)) == DATA[100:600]
    assert store.get("one/x") == DATA
    assert [each[:2] for each in told] == [("primary", "copy")]


def test_nobody_goes_on_forever() -> None:
    """If all places fail, the last error is raised; a file that a place lacks is not looked for elsewhere."""
    stores = {name: Broken(name) for name in ("one", "two", "three")}
    told = list[Any]()
    with pytest.raises(StorageUnreachable, match="three/x"):
        list(continued(dict(stores), said(told)).open_range("one/x"))
    assert told == [("one", "two", 0), ("two", "three", 0)]
    with pytest.raises(ObjectMissing):
        continued({"one": MemoryStore("one"), "two": MemoryStore("two")}, said(told)).get("one/x")
    only = MemoryStore("one")
    assert continued({"one": only}, said(told)) is only


@pytest.fixture
def plan(tmp_path: Path) -> Plan:
    """A plan with two folders, which hold nothing yet."""
    for name in ("first", "second"):
        (tmp_path / name).mkdir()
    made = plan_of(FolderStore(tmp_path / "first", "shop"))
    return replace(made, copies=(Destination("copy", FolderStore(tmp_path / "second", "other")),))


def keep(store: Any, name: str, data: bytes = b"an object", **changed: Any) -> None:
    """Store a backup with its manifest."""
    made = manifest(name, object_bytes=len(data)).model_copy(update=changed)
    store.put(store.key(name + OBJECT), data, "application/gzip")
    store.put(store.key(name + MANIFEST), made.encode())


def test_the_newest_of_all_places_is_taken(plan: Plan) -> None:
    """A place that is behind doesn't hide what another one has, and a backup that only a copy has is found by name."""
    first, copy = plan.destinations
    with pytest.raises(NoBackups):
        nearest(plan, None, NOW, print)
    keep(copy.storage, FIRST)
    assert nearest(plan, None, NOW, print).place == copy
    keep(first.storage, SECOND)
    assert nearest(plan, None, NOW, print).place == first
    found = nearest(plan, FIRST, NOW, print)
    assert (found.place, found.others) == (copy, ())
    with pytest.raises(ObjectMissing):
        nearest(plan, "backup_20200101_000000", NOW, print)


def test_only_the_same_bytes_go_on(plan: Plan) -> None:
    """Another place is there to go on only if its manifest names the same bytes."""
    first, copy = plan.destinations
    keep(first.storage, FIRST)
    keep(copy.storage, FIRST)
    found = nearest(plan, FIRST, NOW, print)
    assert (found.place, found.others) == (first, (copy,))
    keep(copy.storage, FIRST, sha256="0" * 64)
    assert nearest(plan, FIRST, NOW, print).others == ()
    copy.storage.remove(copy.storage.key(FIRST + MANIFEST))
    assert nearest(plan, FIRST, NOW, print).others == ()


def test_a_place_that_does_not_answer_is_left_out(plan: Plan, tmp_path: Path) -> None:
    """A vanished disk costs a warning while another place answers, and is the error if none does."""
    first, copy = plan.destinations
    keep(first.storage, FIRST)
    keep(copy.storage, FIRST)
    (tmp_path / "first").rename(tmp_path / "gone")
    warned = list[str]()
    found = nearest(plan, None, NOW, lambda text, *values: warned.append(text % values))
    assert (found.place, found.others) == (copy, ())
    assert [text.partition(":")[0] for text in warned] == ["primary is left out"]
    (tmp_path / "second").rename(tmp_path / "gone too")
    with pytest.raises(FolderMissing, match="first"):
        nearest(plan, None, NOW, print)


def test_a_question_to_all_places(plan: Plan) -> None:
    """Each place that answers is put in front of the plan; one that lacks what is asked for is passed over."""

    def look(at: Plan) -> str:
        if at.place == "primary":
            raise ObjectMissing("x")
        return at.place

    ((leading, answer),) = answers(plan, look, print)
    assert (answer, leading.storage, [place.name for place in leading.copies]) == (
        "copy",
        plan.copies[0].storage,
        ["primary"],
    )

    def never(_: Plan) -> str:
        raise OSError(errno.EIO, "no storage error")

    with pytest.raises(OSError, match="no storage error"):
        list(answers(plan, never, print))


def test_a_companion_comes_from_another_place(plan: Plan) -> None:
    """Roles and settings are read elsewhere, too, when the first place fails."""
    first, second = Broken("one"), MemoryStore("two")
    second.objects[second.key(FIRST + GLOBALS)] = b"roles"
    assert continued({"a": first, "b": second}, said([])).get(f"one/{FIRST}{GLOBALS}") == b"roles"
    assert plan.copies
