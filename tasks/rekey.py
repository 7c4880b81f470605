"""The steps of a change of keys: see what opens what is kept, and give kept backups the new keys."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from blocks.config.age_keys import Recipient
from blocks.config.plan import Plan
from blocks.errors import BackupDamaged, ConfigurationError, KeyMissing, ObjectMissing, Problem
from tasks.engine.repository.catalog import Backup, named
from tasks.engine.repository.facts import manifest_facts
from tasks.engine.repository.members import all_members
from tasks.engine.repository.rekey import has_other_keys, rekey, require_new_key
from tasks.engine.repository.repository import Repository
from tasks.engine.repository.rotation import Rotation, rotation_of
from tasks.keys import repository_of


@dataclass
class Rekeyed:
    """What was done, by the label of each backup; why others keep their keys."""

    done: list[str] = field(default_factory=list)
    had_them: int = 0
    failed: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Part:
    """One database in one place: what goes before its backups' names, its plan, and its backups, oldest first."""

    label: str
    plan: Plan
    backups: Sequence[Backup]

    @property
    def repository(self) -> Repository:
        """Where its backups are."""
        return repository_of(self.plan)


def recipients_of_plan(plan: Plan) -> tuple[Recipient, ...]:
    """Return whom new backups are encrypted to; raises ConfigurationError if that is nobody."""
    if not plan.encryption.recipients:
        raise ConfigurationError([Problem("No public key is set", "set BACKUP_AGE_RECIPIENTS to those that you want")])
    return plan.encryption.recipients


def rekey_kept(plan: Plan, backup: str = "", *, dry_run: bool = False) -> Iterator[tuple[str, Rekeyed]]:
    """Give one kept backup, or all, the plan's recipients, the newest first; yield each label with what was done so far.

    Backups that are encrypted to them already, and foreign ones, are left alone. One that can't be opened, or is
    damaged, costs the others nothing; what is wrong with the storage ends it.
    """
    recipients, result = recipients_of_plan(plan), Rekeyed()
    for part in parts_of_plan(plan):
        identities = part.repository.keys.identities()
        require_new_key(identities, recipients)
        kept = [b for b in reversed(part.backups) if b.encrypted and not b.foreign]
        for chosen in [named(kept, backup)] if backup else kept:
            label = part.label + chosen.name
            try:
                if not has_other_keys(part.repository, chosen, recipients):
                    result.had_them += 1
                    continue
                if not dry_run:
                    rekey(part.repository, chosen, identities, recipients)
                result.done.append(label)
            except (KeyMissing, BackupDamaged, ObjectMissing) as error:
                result.failed[label] = error.sentence
            yield label, result
    yield "", result


def rotation(plan: Plan) -> list[tuple[str, Rotation]]:
    """Say of each place and database which keys open what is kept there."""
    return [(part.label, _rotation(part)) for part in parts_of_plan(plan)]


def _rotation(part: Part) -> Rotation:
    encrypted = [b for b in part.backups if b.encrypted and not b.foreign]
    keys = {b.name: found for b in encrypted if (found := _keys_of(part.repository, b)) is not None}
    return rotation_of(encrypted, keys, part.plan.encryption.recipients, part.plan.retention)


def _keys_of(repository: Repository, backup: Backup) -> tuple[str, ...] | None:
    return manifest_facts(repository, backup, lambda outline: outline.recipients)


def parts_of_plan(plan: Plan) -> Iterator[Part]:
    """Return each database in each place, with its backups."""
    several = len(plan.destinations) > 1
    for place in plan.destinations:
        here, where = plan.at(place), f"{place.name}: " if several else ""
        if here.databases:
            for member in all_members(here):
                yield Part(f"{where}{member.plan.name.partition('/')[2]}/", member.plan, member.backups)
        else:
            yield Part(where, here, repository_of(here).backups())
