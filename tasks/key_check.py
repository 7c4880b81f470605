"""The step of a key check: try the private keys on what is kept."""

from __future__ import annotations

from dataclasses import replace

from blocks.config.plan import Plan
from tasks.engine.repository.key_check import KeyCheck, check_keys
from tasks.orchestration import get_run_logger, task
from tasks.rekey import parts_of_plan
from tasks.retries import QUICK


@task("try the keys", QUICK)
def try_keys(plan: Plan, *, every: bool = False) -> KeyCheck:
    """Try the keys at hand on the kept backups of a plan, in each place and of each database; raises KeyMissing without any."""
    found = KeyCheck((), 0, 0)
    for part in parts_of_plan(plan):
        identities = part.repository.keys.identities()
        here = check_keys(part.repository, part.backups, identities, every=every, label=part.label)
        found = replace(found + here, at_hand=tuple(identity.fingerprint for identity in identities))
    if found.locked:
        get_run_logger().error("%s. Not: %s", found.sentence, found.which)
    else:
        get_run_logger().info(found.sentence)
    return found
