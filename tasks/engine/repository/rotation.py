"""Say what a change of keys leaves behind: which kept backups only other keys open, and until when; no key is needed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from blocks.config.age_keys import Recipient
from blocks.config.destinations import RetentionRules
from tasks.engine.repository.catalog import Backup

_DAYS = {"daily": 1, "weekly": 7, "monthly": 31, "yearly": 366}


@dataclass(frozen=True)
class OtherKeys:
    """Backups that the same old keys open, and no new one; `until` is None if retention sets no end."""

    keys: tuple[str, ...]
    backups: tuple[Backup, ...]
    until: datetime | None


@dataclass(frozen=True)
class Rotation:
    """How many kept backups the current recipients open, and those that they don't, by their keys."""

    opened: int
    others: tuple[OtherKeys, ...]
    unknown: int = 0


def rotation_of(
    backups: Sequence[Backup], keys: Mapping[str, Sequence[str]], recipients: Sequence[Recipient], rules: RetentionRules
) -> Rotation:
    """Sort encrypted backups by who opens them; `keys` are the fingerprints that each manifest names, by backup."""
    current = {recipient.fingerprint for recipient in recipients}
    groups: dict[tuple[str, ...], list[Backup]] = {}
    opened = 0
    for backup in backups:
        named = keys.get(backup.name)
        if named and current.isdisjoint(named):
            groups.setdefault(tuple(sorted(named)), []).append(backup)
        else:
            opened += named is not None
    others = [OtherKeys(named, tuple(found), _until(found, rules)) for named, found in groups.items()]
    return Rotation(opened, tuple(others), sum(backup.name not in keys for backup in backups))


def _until(backups: Sequence[Backup], rules: RetentionRules) -> datetime | None:
    """Return when retention has removed all of them at the latest, if newer ones are made and proven."""
    if rules.keep.get("last"):
        return None
    days = max([rules.days, *(count * _DAYS[rule] for rule, count in rules.keep.items() if rule in _DAYS)])
    return max(backup.taken_at for backup in backups) + timedelta(days=days)
