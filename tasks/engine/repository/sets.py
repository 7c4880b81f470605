"""Sets: which backups of a server's databases one run took, and what it could not take. Written last, and once.

A set's members are backups like any other, each in its database's folder. They share no snapshot.
"""

from __future__ import annotations

import random
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from blocks.config.databases import database_of, folder_for
from blocks.errors import UPLOAD, BackupDamaged, NoBackups, ObjectMissing, StorageError
from blocks.s3.client import StoredObject
from tasks.engine.repository.catalog import Backup, backups_in
from tasks.engine.repository.manifest import FORMAT, Count, Moment
from tasks.engine.repository.names import SETS, set_file, set_in, set_name_at, set_taken_at, taken_at
from tasks.engine.repository.repository import STALE_UPLOAD
from tasks.engine.repository.set_choice import newest_first
from tasks.engine.repository.store import Store
from tasks.engine.repository.unseen import is_taken
from tasks.engine.repository.upload import Upload

SET_BYTES = 16 << 20
_AT_ONCE = 16
# How many sets are read at most to find one that was taken by the plan's own patterns.
_LOOKED_AT = 50
# How often a set gives way to others, and how far apart two that met then are at most.
_MOST_CLAIMS, _APART_S = 20, 9


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="ignore")


class SetMember(_Part):
    """A database of a set: its backup, or else why it has none."""

    database: str
    folder: str
    backup: Annotated[str, Field(pattern=r"^(backup_[0-9]{8}_[0-9]{6})?$")] = ""
    rows: Count = 0
    object_bytes: Count = 0
    has_globals: bool = False
    error: str = ""
    code: Annotated[str, Field(max_length=40)] = ""


class LeftAlone(_Part):
    """A database that the patterns name and that no set has, with the reason."""

    database: str
    reason: str


class BackupSet(_Part):
    """What one run took of a server's databases by these patterns, empty in documents of before they were stored.

    `globals_of` is the folder of the member whose roles to restore first.
    """

    format: Literal[1] = FORMAT
    tool: str = "pg-roundtrip"
    tool_version: str
    plan: str
    name: str
    started_at: Moment
    ended_at: Moment
    system_identifier: str = ""
    members: tuple[SetMember, ...]
    left_alone: tuple[LeftAlone, ...] = ()
    globals_of: str = ""
    patterns: tuple[str, ...] = ()

    def is_of(self, patterns: Sequence[str]) -> bool:
        """Whether it was taken by these patterns, as far as is known; without any, every set is meant."""
        return not patterns or not self.patterns or set(patterns) == set(self.patterns)

    @property
    def done(self) -> tuple[SetMember, ...]:
        """The members that have a backup."""
        return tuple(member for member in self.members if member.backup)

    @property
    def failed(self) -> tuple[SetMember, ...]:
        """The members that have none."""
        return tuple(member for member in self.members if not member.backup)

    @property
    def counted(self) -> str:
        """How many have one: `11 of 12`."""
        return f"{len(self.done)} of {len(self.members)}"

    def encode(self) -> bytes:
        """Encode the document as stored."""
        return self.model_dump_json(indent=1).encode() + b"\n"


@dataclass(frozen=True)
class Contents:
    """What a set's storage holds: the backups in each database's folder, oldest first, and the names of the sets."""

    backups: dict[str, tuple[Backup, ...]]
    sets: tuple[str, ...]


def contents_of(root: str, objects: Iterable[StoredObject]) -> Contents:
    """Sort a listing of everything under `root` by the folders of databases; whatever else is there is left alone."""
    found, sets = defaultdict[str, list[StoredObject]](list), list[str]()
    for stored in objects:
        file = stored.key.removeprefix(root)
        folder, slash, name = file.partition("/")
        if set_name := set_in(file):
            sets.append(set_name)
        elif slash and "/" not in name and database_of(folder) is not None:
            found[folder].append(stored)
    backups = {folder: backups_in(f"{root}{folder}/", here) for folder, here in found.items()}
    return Contents({folder: here for folder, here in sorted(backups.items()) if here}, tuple(sorted(sets)))


def forgotten(sets: Sequence[BackupSet], backups: Mapping[str, Sequence[Backup]]) -> list[BackupSet]:
    """Return the sets of which no backup is there any more. Pure."""
    there = {(folder, backup.name) for folder, here in backups.items() for backup in here}
    return [one for one in sets if not _any_left(one, there)]


def _any_left(one: BackupSet, there: set[tuple[str, str]]) -> bool:
    return any((member.folder, member.backup) in there for member in one.members)


@dataclass(frozen=True)
class Sets:
    """The sets in a place that keeps backups. Any method can raise StorageError."""

    store: Store

    def contents(self) -> Contents:
        """List everything, with one request for a thousand objects."""
        return contents_of(self.store.key(""), self.store.list_objects())

    def names(self) -> list[str]:
        """List the sets, oldest first."""
        root = self.store.key("")
        listed = self.store.list_objects(beginning=SETS)
        return sorted(name for stored in listed if (name := set_in(stored.key.removeprefix(root))))

    def read(self, name: str) -> BackupSet:
        """Fetch a set; raises ObjectMissing, or BackupDamaged if it is unreadable."""
        if set_taken_at(name) is None:
            raise ObjectMissing(name, hint="pg-roundtrip list --sets shows their names")
        return read_set(self.store.get(self.store.key(set_file(name)), SET_BYTES), name)

    def newest(self, names: Sequence[str], patterns: Sequence[str], now: datetime) -> BackupSet | None:
        """Fetch the newest of some sets that was taken by these patterns, or else the newest that can be read, if any."""
        in_order = newest_first(names, now)[:_LOOKED_AT]
        first = self.read_if_whole(in_order[0]) if in_order else None
        if first and first.is_of(patterns):
            return first
        found = [*([first] if first else []), *self.read_all(in_order[1:])]
        return next((one for one in found if one.is_of(patterns)), found[0] if found else None)

    def latest(self, patterns: Sequence[str], now: datetime) -> BackupSet:
        """Fetch that set, of all; raises NoBackups if there is none.

        Raises BackupDamaged if the newest is unreadable: an older one must not pass for it.
        """
        in_order = newest_first(self.names(), now)
        if not in_order:
            raise NoBackups("there is no set", hint="pg-roundtrip backup with BACKUP_DATABASES makes one")
        first = self.read(in_order[0])
        return first if first.is_of(patterns) else self.newest(in_order, patterns, now) or first

    def newest_by_others(self, made: BackupSet, now: datetime) -> BackupSet | None:
        """Fetch the newest set that was taken by other patterns than this one; None if there is none."""
        found = self.read_all(newest_first(self.names(), now)[:_LOOKED_AT])
        return next((one for one in found if not one.is_of(made.patterns)), None)

    def read_if_whole(self, name: str) -> BackupSet | None:
        """Fetch a set; None if it is gone or unreadable."""
        try:
            return self.read(name)
        except (ObjectMissing, BackupDamaged):
            return None

    def read_all(self, names: Sequence[str]) -> list[BackupSet]:
        """Fetch those of some sets that can be read, several at once."""
        with ThreadPoolExecutor(_AT_ONCE, "sets") as pool:
            return [found for found in pool.map(self.read_if_whole, names) if found]

    def free_name(self, moment: datetime) -> str:
        """Return the name of a set that begins at a moment; move on by a second while the name is taken."""
        while is_taken(self.store, self.store.key(set_file(set_name_at(moment)))):
            moment += timedelta(seconds=1)
        return set_name_at(moment)

    def write(self, made: BackupSet) -> BackupSet:
        """Store a set, after all of its backups; return it with its name, which another run that began with it can't have.

        Like a backup, it claims the name by an upload that has begun, and gives way if another has begun one.
        """
        moment = made.started_at
        for _ in range(_MOST_CLAIMS):
            named = made.model_copy(update={"name": self.free_name(moment)})
            key, data = self.store.key(set_file(named.name)), named.encode()
            claim = Upload(self.store, key, len(data))
            if claim.claim():
                try:
                    if self.store.put_new(key, data):
                        return named
                finally:
                    claim.abort()
            moment += timedelta(seconds=random.randint(1, _APART_S))  # noqa: S311
        raise StorageError(f"{key}: others take every name", during=UPLOAD, transient=True)

    def add(self, made: BackupSet) -> bool:
        """Store a set that has its name from another place; return False if there is one of this name already."""
        return self.store.put_new(self.store.key(set_file(made.name)), made.encode())

    def sweep(self, now: datetime) -> Iterator[str]:
        """Abort claims of names that a killed run left at least a day ago; yield the key of each."""
        root = self.store.key("")
        for key, upload_id in self.store.list_uploads(STALE_UPLOAD, now):
            if set_in(key.removeprefix(root)):
                self.store.abort_upload(key, upload_id)
                yield key

    def remove(self, name: str) -> bool:
        """Delete the document of a set; its backups, if there are any, stay. Return False if the document has to stay."""
        return self.store.remove(self.store.key(set_file(name)))


def read_set(data: bytes, name: str) -> BackupSet:
    """Decode the document of the set `name`; raises BackupDamaged if it is unreadable or another set's."""
    try:
        made = BackupSet.model_validate_json(data)
    except ValidationError as error:
        raise BackupDamaged(
            f"the document of {name} cannot be read: {error.error_count()} faults", check="set"
        ) from None
    if made.name != name:
        raise BackupDamaged(f"the document of {name} belongs to another set", check="set")
    wrong = [member for member in made.members if not _is_sound(member)]
    if wrong:
        raise BackupDamaged(f"the document of {name} names {len(wrong)} folders of other databases", check="set")
    return made


def _is_sound(member: SetMember) -> bool:
    """Whether a member has a name, and the folder of that database, or none if it has no backup either."""
    if member.backup and not taken_at(member.backup):
        return False
    none = not member.folder and not member.backup
    return bool(member.database) and (none or member.folder == folder_for(member.database))
