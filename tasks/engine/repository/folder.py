"""Tell apart the backups in a folder that several databases may share."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from tasks.engine.repository.catalog import Backup
from tasks.engine.repository.facts import origins
from tasks.engine.repository.identity import Database, Whose
from tasks.engine.repository.repository import Repository


@dataclass(frozen=True)
class Folder:
    """A folder: all backups in it, oldest first, whose backups count, and its address."""

    backups: tuple[Backup, ...]
    whose: Whose
    address: str = ""

    @property
    def others(self) -> list[Backup]:
        """The backups of other databases."""
        mine = self._mine
        return [b for b in self.backups if b.name not in mine]

    @property
    def own(self) -> list[Backup]:
        """The backups that count; in a shared folder none without a manifest, because it could be another's."""
        mine = self._mine
        shared = len(mine) < len(self.backups)
        return [b for b in self.backups if b.name in mine and not (shared and b.foreign)]

    @property
    def _mine(self) -> set[str]:
        """The names of the backups that count.

        If the database's OID identifies its own backups, exclude those of another database that took over a former
        name.
        """
        owned = [b for b in self.backups if self.whose.owns(b.origin)]
        sure = any(b.origin and self.whose.made(b.origin) for b in owned)
        return {b.name for b in owned if not (sure and self._is_successors(b, owned))}

    def _is_successors(self, backup: Backup, owned: Sequence[Backup]) -> bool:
        """Whether a backup is of the database that took over a former name of this one.

        This one has had several OIDs if it was ever restored.
        """
        ours, origin = self.whose.database, backup.origin
        if ours is None or origin is None or not self.whose.has_former_name(origin):
            return False
        known = [(b, b.origin.database) for b in owned if b.origin]
        numbers = {ours.oid, *(d.oid for _, d in known if d.name == ours.name)}
        if origin.database.oid in numbers:
            return False
        own = [b.taken_at for b, d in known if d.name == origin.database.name and d.oid in numbers]
        if own:  # it had this name itself until then; an OID from before that is its own, from before a restore
            return backup.taken_at >= max(own)
        first = min((b.taken_at for b, d in known if d.name == ours.name), default=backup.taken_at)
        return backup.taken_at > first

    @property
    def made_here(self) -> list[Backup]:
        """Those of its own backups that a manifest identifies as this database's."""
        return [b for b in self.own if b.origin]

    @property
    def moved(self) -> list[Backup]:
        """Those of other databases that this one may have made before it was moved or renamed."""
        return [b for b in self.others if self.whose.may_own(b.origin)]


def databases_in(backups: Iterable[Backup]) -> list[Database]:
    """Return the databases that some backups are of."""
    return sorted({Database(d.name, d.system_identifier) for b in backups if b.origin for d in [b.origin.database]},
                  key=str)  # fmt: skip


def apart(backups: Sequence[Backup]) -> list[list[Backup]]:
    """Group backups by database; one of an unknown server joins the only database of its name, if there is just one."""
    found = databases_in(backups)
    groups: dict[Database | None, list[Backup]] = {}
    for backup in backups:
        key = None
        if backup.origin:
            made = backup.origin.database
            fitting = [d for d in found if d.is_same(made) and d.system_identifier]
            key = Database(
                made.name, made.system_identifier or (fitting[0].system_identifier if len(fitting) == 1 else "")
            )
        groups.setdefault(key, []).append(backup)
    if len(groups) == 2 and None in groups:
        return [list(backups)]
    return list(groups.values())


def look_into(repository: Repository, whose: Whose, backups: Iterable[Backup]) -> Folder:
    """Add the origin of each backup, which is in its manifest."""
    listed = tuple(backups)
    known = origins(repository, listed)
    return Folder(tuple(replace(b, origin=known.get(b.name)) for b in listed), whose, repository.address)
