"""Apply a plan's retention to its own backups in a folder that may be shared: others' backups are always kept."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime

from blocks.config.plan import Plan
from tasks.engine.repository.catalog import Backup
from tasks.engine.repository.facts import surveyed
from tasks.engine.repository.folder import Folder, apart, databases_in, look_into
from tasks.engine.repository.held import keeping_held
from tasks.engine.repository.identity import Whose
from tasks.engine.repository.repository import Repository
from tasks.engine.repository.retention import Decision, Policy, PrunePlan, decide_apart


def decide_closely(
    plan: Plan, repository: Repository, whose: Whose, listed: Sequence[Backup], now: datetime, *, even_if_stale: bool
) -> tuple[Folder, PrunePlan]:
    """Decide from what is listed and remembered, then look closely at whatever a removal rests on, until nothing changes.

    What is not looked at closely is kept, and displaces no other backup.
    """
    as_listed = {b.name: b for b in listed}
    known = {b.name: b for b in surveyed(repository, listed)}
    looked_at = set[str]()
    while True:
        folder = look_into(repository, whose, known.values())
        decided = decide_for(plan, folder, now, even_if_stale=even_if_stale)
        unseen = {b.name for b in decided.grounds} - looked_at
        if not unseen:
            return folder, keeping_held(decided, now)
        looked_at |= unseen
        found = {b.name: b for b in repository.looked_into([as_listed[name] for name in sorted(unseen)])}
        known = {name: found.get(name, b) for name, b in known.items() if name in found or name not in unseen}


def decide_for(plan: Plan, folder: Folder, now: datetime, *, even_if_stale: bool = False) -> PrunePlan:
    """Apply a plan's policy to its own backups, each database separately; pure."""
    policy = policy_of(plan, now, even_if_stale=even_if_stale)
    mine = [b for b in folder.backups if _is_mine(folder, plan.name, b)]
    return _sparing_others(folder, decide_apart(_by_database(folder, mine), policy, now), mine)


def _is_mine(folder: Folder, plan_name: str, backup: Backup) -> bool:
    """Whether this plan may remove it; a backup of unknown origin belongs to nobody and expires by age."""
    made = backup.origin
    return made is None or (made.plan == plan_name and folder.whose.owns(made))


def _by_database(folder: Folder, mine: list[Backup]) -> list[list[Backup]]:
    database = folder.whose.database
    return [mine] if folder.whose.others or (database and database.system_identifier) else apart(mine)


def _sparing_others(folder: Folder, decided: PrunePlan, mine: list[Backup]) -> PrunePlan:
    """Keep backups of another database or another plan: that plan has its own policy.

    If two databases share a name and the server does not tell us now which one this is, remove neither's backups.
    """
    database = folder.whose.database
    unsure = bool(database and not database.system_identifier and not folder.whose.others
                  and len(databases_in(_of_known_servers(mine))) > 1)  # fmt: skip
    names = {b.name for b in mine if not (unsure and b.origin)}
    spared = [b for b in folder.backups if b.name not in names and b.origin]
    kept = [d for d in decided.decisions if d.backup.name in names]
    kept += [
        Decision(b, keep=True, reasons=(f"belongs to plan {b.origin.plan}, database {b.origin.database}",))
        for b in spared if b.origin
    ]  # fmt: skip
    return replace(
        decided, spared=len(spared), decisions=tuple(sorted(kept, key=lambda d: (d.backup.taken_at, d.backup.name)))
    )


def _of_known_servers(mine: list[Backup]) -> list[Backup]:
    """Return the backups whose server is known."""
    return [b for b in mine if b.origin and b.origin.database.system_identifier]


def policy_of(plan: Plan, now: datetime, *, even_if_stale: bool = False) -> Policy:
    """Return a plan's retention policy."""
    rules = {f"keep_{rule}": count for rule, count in plan.retention.keep.items()}
    interval_s = int(plan.schedules.backups.gap(now).total_seconds())
    return Policy(plan.retention.days, interval_s, **rules, even_if_stale=even_if_stale)
