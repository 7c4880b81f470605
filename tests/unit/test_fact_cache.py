"""What was read of the bucket before saves requests, and changes no decision."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import TypeAdapter

from blocks.config.environment import cache_folder
from tasks.engine.repository import cache, cache_file, facts
from tasks.engine.repository.cache import FactCache, Kind
from tasks.engine.repository.cache_file import CacheFile
from tasks.engine.repository.catalog import Backup, named
from tasks.engine.repository.folder import look_into
from tasks.engine.repository.identity import Database, Origin, Whose
from tasks.engine.repository.manifest import Verdict
from tasks.engine.repository.names import MANIFEST, OBJECT, REPORT, name_at
from tasks.engine.repository.own_retention import decide_closely, decide_for
from tasks.engine.repository.repository import Repository
from tasks.status.listing import read_entries
from tests.memory_store import MemoryStore
from tests.plans import plan_of
from tests.unit.test_catalog import manifest, report, storage

NOW = datetime(2026, 11, 21, 12, tzinfo=UTC)
SHOP = Whose(Database("shop", "1"))
PLAN = plan_of(storage({}), retention_days=2, keep_last=2, keep_daily=3)


@pytest.fixture(autouse=True)
def _nothing_remembered(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(facts, "_caches", {})
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


def forget() -> None:
    """Forget what this process remembers, as if the next command began."""
    facts._caches.clear()


def keep(store: MemoryStore, age_h: int, verdict: Verdict | None = None, database: str = "shop") -> str:
    """Store a backup and perhaps a drill's report."""
    name = name_at(NOW - timedelta(hours=age_h))
    store.put(store.key(name + OBJECT), b"x" * 100)
    made = manifest(name, database=database, system_identifier="1")
    store.put(store.key(name + MANIFEST), made.encode())
    store.moments |= {store.key(name + kind): NOW - timedelta(hours=age_h) for kind in (OBJECT, MANIFEST)}
    if verdict:
        drilled(store, name, verdict)
    return name


def drilled(store: MemoryStore, name: str, verdict: Verdict) -> None:
    """Store a drill's report beside a backup."""
    Repository(store).store_report(report(name, verdict))
    store.calls.clear()


def documents_read(store: MemoryStore) -> list[str]:
    """Return what was requested but listings, and start counting again."""
    read = [key.rpartition("/")[2] for call, key in store.calls if call in ("get", "read", "stat")]
    store.calls.clear()
    return read


def origins(store: MemoryStore) -> dict[str, Origin]:
    return facts.origins(Repository(store), Repository(store).backups())


def removed(store: MemoryStore, listed: list[Backup], *, even_if_stale: bool = False) -> set[str]:
    """Return what a prune would remove, given a listing."""
    _, decided = decide_closely(PLAN, Repository(store), SHOP, listed, NOW, even_if_stale=even_if_stale)
    return {b.name for b in decided.removals}


def removed_by_all_that_is_known(store: MemoryStore, listed: list[Backup], *, even_if_stale: bool) -> set[str]:
    """Return what a prune would remove that asks for every document of every backup."""
    forget()
    backups = Repository(store).looked_into(listed)
    folder = look_into(Repository(store), SHOP, backups)
    return {b.name for b in decide_for(PLAN, folder, NOW, even_if_stale=even_if_stale).removals}


def test_a_document_is_read_once() -> None:
    """What is listed as it was is not read again, by the same process or by the next; what has changed is."""
    store = MemoryStore(seal_key=b"key")
    first, second = keep(store, 3), keep(store, 2)
    found = origins(store)
    assert sorted(documents_read(store)) == [first + MANIFEST, second + MANIFEST]
    assert (origins(store), documents_read(store)) == (found, [])
    forget()
    assert (origins(store), documents_read(store)) == (found, [])
    keep(store, 2, database="other")
    assert (origins(store)[second].database.name, documents_read(store)) == ("other", [second + MANIFEST])


def test_what_is_listed_is_read_once() -> None:
    """A second `list` reads nothing, and says the same."""
    store = MemoryStore(seal_key=b"key")
    keep(store, 3, Verdict.PROVEN)
    keep(store, 2)
    repository = Repository(store)
    shown = read_entries(repository, repository.backups())
    assert ([e["verdict"] for e in shown], len(documents_read(store))) == (["PROVEN", None], 3)
    forget()
    assert (read_entries(repository, repository.backups()), documents_read(store)) == (shown, [])


def test_an_unreadable_document_gets_another_chance() -> None:
    """A process that found a manifest unreadable does not ask again; the next one does."""
    store = MemoryStore(seal_key=b"key")
    name = keep(store, 2)
    store.put(store.key(name + MANIFEST), b"{}")
    for asked in ([name + MANIFEST], []):
        assert (origins(store), documents_read(store)) == ({}, asked)
    forget()
    assert (origins(store), documents_read(store)) == ({}, [name + MANIFEST])


def the_file() -> Path:
    (path,) = (cache_folder() or Path()).iterdir()
    return path


def forged(data: bytes) -> bytes:
    """Attribute every backup to another database, and leave the seal as it was."""
    return data.replace(b"shop", b"pohs")


def sealed_by_another(data: bytes) -> bytes:
    """Do the same with a seal made by another key."""
    known = {key: text.replace("shop", "pohs") for key, text in json.loads(data[32:]).items()}
    stranger = CacheFile(the_file(), b"another key")
    stranger.save(known)
    return stranger.path.read_bytes()


@pytest.mark.parametrize(
    "spoil",
    [forged, sealed_by_another, lambda data: data[:-1], lambda data: data + b" ", lambda _: b"", lambda _: b"\0" * 100],
)
def test_a_file_that_is_not_ours(spoil: Callable[[bytes], bytes]) -> None:
    """A file that was changed, cut off or written by anyone else counts as empty: everything is read again."""
    store = MemoryStore(seal_key=b"key")
    name = keep(store, 2)
    found = origins(store)
    documents_read(store)
    the_file().write_bytes(spoil(the_file().read_bytes()))
    forget()
    assert (origins(store), documents_read(store)) == (found, [name + MANIFEST])


def test_a_file_of_another_version_or_folder(monkeypatch: pytest.MonkeyPatch) -> None:
    """Another version may derive other facts, and another folder's file was not written for this one."""
    CacheFile(path := Path(os.environ["XDG_CACHE_HOME"], "one"), b"key").save({"a": "1"})
    path.with_name("two").write_bytes(path.read_bytes())
    assert CacheFile(path, b"key").load() == {"a": "1"}
    assert CacheFile(path.with_name("two"), b"key").load() == {}
    monkeypatch.setattr(cache_file, "tool_version", lambda: "0")
    assert CacheFile(path, b"key").load() == {}


def a_pipe(path: Path) -> None:
    os.mkfifo(path)


def a_link(path: Path) -> None:
    path.symlink_to(path.with_name("elsewhere"))


def a_folder(path: Path) -> None:
    path.mkdir()


@pytest.mark.parametrize("place", [a_pipe, a_link, a_folder])
@pytest.mark.parametrize("suffix", ["", ".new"])
def test_a_place_that_is_no_file(place: Callable[[Path], None], suffix: str) -> None:
    """Whatever is in the file's place, a command neither waits for it nor follows it, nor fails."""
    path = Path(os.environ["XDG_CACHE_HOME"], "facts")
    path.parent.mkdir()
    place(path.with_suffix(suffix))
    assert CacheFile(path, b"key").load() == {}
    CacheFile(path, b"key").save({"a": "1"})
    assert not path.with_name("elsewhere").exists()


def test_only_this_user_can_read_it() -> None:
    """The file names databases: nobody else may read it, and nothing that is temporary stays beside it."""
    store = MemoryStore(seal_key=b"key")
    keep(store, 2)
    origins(store)
    assert (the_file().stat().st_mode & 0o777, the_file().parent.stat().st_mode & 0o777) == (0o600, 0o700)
    assert b"key" not in the_file().read_bytes()


@pytest.mark.parametrize(("xdg", "home"), [("", ""), ("relative", "/home/me"), ("", "relative"), ("/dev/null", "/")])
def test_without_a_place(monkeypatch: pytest.MonkeyPatch, xdg: str, home: str) -> None:
    """Without a home, or with one that cannot be written, everything works as before."""
    monkeypatch.setenv("XDG_CACHE_HOME", xdg)
    monkeypatch.setenv("HOME", home)
    store = MemoryStore(seal_key=b"key")
    name = keep(store, 2)
    assert origins(store)[name].database.name == "shop"


def test_without_keys_there_is_no_file() -> None:
    """Facts that cannot be sealed are not kept."""
    store = MemoryStore()
    keep(store, 2)
    origins(store)
    assert not (cache_folder() or Path()).exists()


def test_the_cache_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """The facts that were not used for longest make room for others, and one fact cannot fill the cache."""
    monkeypatch.setattr(cache, "CACHE_BYTES", 1000)
    kept, kind = FactCache(), Kind("fact", TypeAdapter(str), lambda b: b.name)
    backups = [
        Backup(name_at(NOW + timedelta(days=n)), NOW, "", 1, has_manifest=True, has_report=False) for n in range(3)
    ]
    read: list[str] = []

    def told(length: int) -> Callable[[Backup], str]:
        def of(backup: Backup) -> str:
            read.append(backup.name)
            return "x" * length

        return of

    for wanted in (backups[0], backups[1], backups[0], backups[2], backups[0], backups[1]):
        assert kept.facts(kind, [wanted], told(400)) == {wanted.name: "x" * 400}
    assert read == [backups[n].name for n in (0, 1, 2, 1)]
    assert kept.facts(kind, backups[:1], told(400)) == {backups[0].name: "x" * 400}
    large = FactCache()
    for _ in range(2):
        large.facts(kind, backups[:1], told(1 << 20))
    assert len(read) == 6


@pytest.mark.parametrize("verdict", [None, Verdict.PROVEN])
def test_what_is_listed_but_gone_protects_nothing(verdict: Verdict | None) -> None:
    """A newest backup that a listing still shows, and that is gone, is no reason to remove the others."""
    store = MemoryStore(seal_key=b"key")
    newest = keep(store, 1, verdict)
    for days in (8, 9, 10):
        keep(store, 24 * days)
    listed = Repository(store).backups()
    assert removed(store, listed) != set()
    Repository(store).remove(named(listed, newest))
    forget()
    assert removed(store, listed) == set()


def test_a_prune_that_removes_nothing_reads_nothing_twice() -> None:
    """What every hour does costs a listing, however many backups there are."""
    store = MemoryStore(seal_key=b"key")
    for age_h in range(10):
        keep(store, age_h, Verdict.PROVEN if age_h == 5 else None)
    for reads in (11, 0):
        forget()
        assert (removed(store, Repository(store).backups()), len(documents_read(store))) == (set(), reads)


def test_what_a_removal_rests_on_is_looked_at_closely() -> None:
    """A report that is not listed yet keeps the newest PROVEN backup, whatever is remembered."""
    store = MemoryStore(seal_key=b"key")
    names = [keep(store, age_h) for age_h in (0, 1, 2, 1000, 2000, 3000, 4000)]
    listed = Repository(store).backups()
    assert removed(store, listed) == {*names[5:]}
    drilled(store, names[6], Verdict.PROVEN)
    assert removed(store, listed) == {names[5]}


CHANGES = st.lists(
    st.tuples(
        st.integers(0, 400), st.sampled_from([None, *Verdict]), st.sampled_from([None, *Verdict, "gone", "unread"])
    ),
    max_size=8,
    unique_by=lambda change: change[0],
)


@given(CHANGES, st.booleans())
def test_a_lagging_listing_and_a_cache_remove_nothing_more(
    changes: list[tuple[int, Verdict | None, str | None]], even_if_stale: bool
) -> None:
    """Nothing is removed that would stay if every backup were looked at closely."""
    forget()
    store = MemoryStore()
    names = [keep(store, age_h, before) for age_h, before, _ in changes]
    listed = Repository(store).backups()
    removed(store, listed)  # so that it is remembered
    for name, (_, _, then) in zip(names, changes, strict=True):
        if isinstance(then, Verdict):
            drilled(store, name, then)
        elif then == "unread":
            for file in [found.file for found in Repository(store).reports_of(name)] or [name + REPORT]:
                store.put(store.key(file), b"{}")
        elif then == "gone":
            Repository(store).remove(named(listed, name))
    told = removed(store, listed, even_if_stale=even_if_stale)
    assert told <= removed_by_all_that_is_known(store, listed, even_if_stale=even_if_stale)
