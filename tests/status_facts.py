"""Make histories of backups and drills, for tests of what is said about them."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from types import MappingProxyType
from typing import Any

from blocks.config.schedule import Schedule
from tasks.engine.repository.catalog import Backup
from tasks.engine.repository.facts import Drilled
from tasks.engine.repository.manifest import Verdict
from tasks.engine.repository.names import name_at
from tasks.status.judgement import Facts
from tasks.status.listing import Contents
from tasks.status.series import sampled
from tasks.status.survey import Surveyed

NOW = datetime(2026, 11, 30, 14, 7, tzinfo=UTC)
HOURLY, DAILY = Schedule(3600), Schedule(86400)
NOTHING: Mapping[float, Verdict] = MappingProxyType({})


def backup_of(age_h: float, **changes: Any) -> Backup:
    """A backup taken so many hours ago."""
    taken = NOW - timedelta(hours=age_h)
    fields = {"object_bytes": 300_000_000 - int(age_h * 1000), "has_manifest": True, "has_report": True, **changes}
    return Backup(name_at(taken), taken, "key", **fields)


def facts_of(
    ages_h: list[float], drills: Mapping[float, Verdict] = NOTHING, *, due: Schedule | None = HOURLY, **changes: Any
) -> Facts:
    """Facts about backups of some ages, of which some were drilled five minutes later."""
    backups = sorted((backup_of(age) for age in ages_h), key=lambda b: b.taken_at)
    drilled = {name_at(NOW - timedelta(hours=age)): verdict for age, verdict in drills.items()}
    found = {
        b.name: Drilled(b.name, v, v is Verdict.PROVEN, b.taken_at + timedelta(minutes=5), 41.0)
        for b in backups
        if (v := drilled.get(b.name))
    }
    return Facts(**{"backups": backups, "drilled": found, "backups_due": due, "drills_due": due and DAILY, **changes})


def surveyed_of(facts: Facts, folder: str = "production/shop", database: str = "shop", **changes: Any) -> Surveyed:
    """The survey that yields these facts."""
    chosen = sampled(facts)
    contents = {
        b.name: Contents(database, "1", 2_000_000 + n, (), b.object_bytes * 4, 40.0 + n % 7)
        for n, b in enumerate(chosen)
    }
    known = facts.backups_due is not None
    fields = {"plan": "default" if known else "", "kept_days": 7 if known else None, **changes}
    return Surveyed(folder, database, facts, chosen, contents, **fields)
