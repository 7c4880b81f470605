"""Decide about a plan's own backups in a folder that others may share: theirs stay, whatever its policy."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime

from blocks.config.plan import Plan
from tasks.engine.repository.catalog import Backup
from tasks.engine.repository.folder import Folder, apart, databases_in
from tasks.engine.repository.retention import Decision, Policy, PrunePlan, decide_apart


def decide_for(plan: Plan, folder: Folder, now: datetime, *, even_if_stale: bool = False) -> PrunePlan:
    """Apply a plan's policy to what is its own, by database; pure."""
    policy = policy_of(plan, now, even_if_stale=even_if_stale)
    mine = [b for b in folder.backups if _is_mine(folder, plan.name, b)]
    return _sparing_others(folder, decide_apart(_by_database(folder, mine), policy, now), mine)


def _is_mine(folder: Folder, plan_name: str, backup: Backup) -> bool:
    """Whether this plan may remove it; what cannot be read is nobody's, and goes by its age."""
    made = backup.origin
    return made is None or (made.plan == plan_name and folder.whose.owns(made))


def _by_database(folder: Folder, mine: list[Backup]) -> list[list[Backup]]:
    database = folder.whose.database
    return [mine] if folder.whose.others or (database and database.system_identifier) else apart(mine)


def _sparing_others(folder: Folder, decided: PrunePlan, mine: list[Backup]) -> PrunePlan:
    """Keep what was made of another database, or for another plan: that plan has a policy of its own.

    Where the server does not say now which of two databases of one name it is, neither loses anything.
    """
    database = folder.whose.database
    unsure = bool(database and not database.system_identifier and not folder.whose.others
                  and len(databases_in(_of_known_servers(mine))) > 1)  # fmt: skip
    names = {b.name for b in mine if not (unsure and b.origin)}
    spared = [b for b in folder.backups if b.name not in names and b.origin]
    kept = [d for d in decided.decisions if d.backup.name in names]
    kept += [
        Decision(b, keep=True, reasons=(f"of the plan {b.origin.plan}, database {b.origin.database}",))
        for b in spared if b.origin
    ]  # fmt: skip
    return replace(
        decided, spared=len(spared), decisions=tuple(sorted(kept, key=lambda d: (d.backup.taken_at, d.backup.name)))
    )


def _of_known_servers(mine: list[Backup]) -> list[Backup]:
    """Those whose server is known."""
    return [b for b in mine if b.origin and b.origin.database.system_identifier]


def policy_of(plan: Plan, now: datetime, *, even_if_stale: bool = False) -> Policy:
    """What a plan says about what is kept."""
    rules = {f"keep_{rule}": count for rule, count in plan.retention.keep.items()}
    interval_s = int(plan.schedules.backups.gap(now).total_seconds())
    return Policy(plan.retention.days, interval_s, **rules, even_if_stale=even_if_stale)
