"""Remember what was told, in the bucket: it outlives a restart and a lost volume, and whoever looks next reads it.

Each entry is written once and never changed, so it works in a bucket with object lock; the newest of each subject counts.
While the bucket does not answer, a local copy takes its place; a copy that exists follows the bucket.
"""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from pydantic import ValidationError

from blocks.config.environment import cache_folder
from blocks.config.plan import Plan
from blocks.errors import PgRoundtripError, StorageError
from tasks.engine.deadline import result_within
from tasks.engine.notify.incidents import Incident
from tasks.engine.repository.cache_file import CacheFile, cache_file_of
from tasks.engine.repository.names import NOTICES, notice_at, notice_file
from tasks.engine.repository.store import Store

_ENTRY_BYTES = 64 << 10
# What a report on a month explains its gaps by, which somebody may ask for a year later.
_KEEP, _MOST_KEPT = timedelta(days=400), 100
_in_process: dict[str, dict[str, str]] = {}


@dataclass(frozen=True)
class ProcessCopy:
    """What this process told, for as long as it lives: a service that can write nowhere must not tell it at every look."""

    place: str

    def load(self) -> dict[str, str]:
        """Return what was saved."""
        return _in_process.get(self.place, {}).copy()

    def save(self, facts: Mapping[str, str]) -> None:
        """Replace what was saved."""
        _in_process[self.place] = dict(facts)


@dataclass
class Ledger:
    """What was told of one plan's subjects; `whose` tells the plans of one folder apart.

    `read` it first. Without a store, or while that fails, only the local copies are used.
    `planless` holds what was told while no plan could be found.
    """

    whose: str
    store: Store | None = None
    file: CacheFile | None = None
    planless: CacheFile | None = None
    process: ProcessCopy | None = None
    _stamps: dict[str, datetime] = field(default_factory=dict)
    _old: dict[str, list[str]] = field(default_factory=dict)
    _known: dict[str, Incident] = field(default_factory=dict)

    @property
    def kept(self) -> bool:
        """Whether the next process will remember anything."""
        return bool(self.store or self.file)

    def read(self) -> dict[str, Incident]:
        """Return the newest entry of each subject; one that can't be read counts as none."""
        self._known = {}
        for copy in self._copies():
            self._learn(filter(None, (_decoded(text.encode()) for text in copy.load().values())))
        self._learn(self._stored())
        self._refresh()
        return dict(self._known)

    def read_within(self, seconds: float) -> dict[str, Incident]:
        """Read, and go without a bucket that hangs."""
        found = result_within(seconds, self.read)
        if found is None:
            self.store = None
            return self.read()
        return found

    def write_within(self, seconds: float, entries: Iterable[Incident], now: datetime) -> None:
        """Write, and go without a bucket that hangs."""
        told = tuple(entries)
        if result_within(seconds, lambda: self.write(told, now)) is None:
            self.store = None
            self.write(told, now)

    def _copies(self) -> list[CacheFile | ProcessCopy]:
        return [copy for copy in (self.planless, self.file, self.process) if copy]

    def _learn(self, found: Iterable[Incident]) -> None:
        for told in found:
            if told.key not in self._known or self._known[told.key].order <= told.order:
                self._known[told.key] = told

    def _refresh(self, *, make: bool = False) -> None:
        """Bring the copies that exist up to date, or an old one would be believed when it is needed; `make` the plan's own."""
        for copy in self._copies():
            before = copy.load()
            if make and copy is not self.planless:
                before |= dict.fromkeys(self._known, "")
            after = {s: told.model_dump_json(by_alias=True) for s, told in self._known.items() if s in before}
            if after != before:
                copy.save(after)

    def _stored(self) -> list[Incident]:
        self._stamps, self._old = {}, {}
        if self.store is None:
            return []
        try:
            folder = self.store.key("")
            for found in self.store.list_objects(beginning=f"{NOTICES}{self.whose}/"):
                if named := notice_at(found.key.removeprefix(folder), self.whose):
                    subject, moment = named
                    self._stamps[subject] = max(moment, self._stamps.get(subject, moment))
                    self._old.setdefault(subject, []).append(found.key)
            entries = [self._fetched(max(keys)) for keys in self._old.values()]
        except StorageError:
            self.store = None
            return []
        return [told for told in entries if told]

    def _fetched(self, key: str) -> Incident | None:
        assert self.store
        with contextlib.suppress(PgRoundtripError):  # removed since, or too large to be ours
            return _decoded(self.store.get(key, _ENTRY_BYTES))
        return None

    def write(self, entries: Iterable[Incident], now: datetime) -> bool:
        """Write entries, each in place of the one before it; returns whether they are in the bucket."""
        stored = True
        for entry in entries:
            stored = self._put(entry, now) and stored
            self._known[entry.key] = entry
        self._refresh(make=not stored)
        return stored

    def _put(self, entry: Incident, now: datetime) -> bool:
        if self.store is None:
            return False
        before = self._stamps.get(entry.key)
        # Never the same name twice, and later than the one before it, whatever the clock says.
        moment = max(now, before + timedelta(seconds=1)) if before else now
        data = entry.model_dump_json(by_alias=True, indent=1).encode()
        try:
            while not self.store.put_new(key := self.store.key(notice_file(self.whose, entry.key, moment)), data):
                moment += timedelta(seconds=1)
        except StorageError:
            return False
        kept = self._remove_old(entry, now)
        self._stamps[entry.key], self._old[entry.key] = moment, [*kept, key]
        return True

    def _remove_old(self, entry: Incident, now: datetime) -> list[str]:
        """Remove the entry before the newest, unless reports want to explain a gap by it, and what is too old for them."""
        assert self.store
        keys, before = sorted(self._old.get(entry.key, [])), self._known.get(entry.key)
        oldest = self.store.key(notice_file(self.whose, entry.key, now - _KEEP))
        is_past = before and before.explains_gaps and not before.open and before.since != entry.since
        past = keys if is_past else keys[:-1]
        kept = [key for key in past if key > oldest][-_MOST_KEPT:]
        with contextlib.suppress(StorageError):  # no right to delete, or a lock: the newest counts
            for old in sorted(set(keys) - set(kept)):
                self.store.remove(old)
        return kept

    def outages(self) -> list[Incident]:
        """Return the past failures that explain why there was no backup, and one that lasts, oldest first."""
        known = self.read()
        keys = [key for keys in self._old.values() for key in sorted(keys)[:-1]]
        found = (*filter(None, map(self._fetched, keys)), *known.values())
        return sorted((told for told in found if told.explains_gaps), key=lambda told: told.since)


def _decoded(data: bytes) -> Incident | None:
    try:
        return Incident.model_validate_json(data)
    except ValidationError:
        return None


def ledger_of(name: str, plan: Plan | None, *, asks_bucket: bool = True) -> Ledger:
    """Return where it is remembered what was told of a plan; a bucket known to be down is asked only without a file."""
    folder, name = cache_folder(), name.replace("/", ".")
    planless = CacheFile(folder / f"notices-{name}", b"no storage") if folder else None
    if plan is None:
        return Ledger(name, None, planless)
    whose = name
    if plan.shared:  # plans of several machines are all called `default`
        of = plan.backups_of or (plan.server.database if plan.server else "")
        whose += "-" + hashlib.sha256(of.encode()).hexdigest()[:8]
    file = cache_file_of(plan.storage)
    here = CacheFile(file.path.with_name(f"{file.path.name}-notices-{whose}"), file.key) if file else None
    return Ledger(whose, plan.storage if asks_bucket or not here else None, here, planless,
                  ProcessCopy(f"{plan.storage.endpoint} {plan.storage.address} {whose}"))  # fmt: skip
