"""The steps of a key check: find the private keys, then try them on what is kept."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from blocks.config.age_identity import identity_text
from blocks.config.plan import Plan
from blocks.errors import ConfigurationError, Problem
from tasks.engine.age.identities import Identity, identities_in
from tasks.engine.repository.key_check import KeyCheck, check_keys
from tasks.engine.repository.members import all_members
from tasks.keys import repository_of
from tasks.orchestration import get_run_logger, task
from tasks.retries import QUICK


def identities_at_hand() -> list[Identity]:
    """Read the private keys that the environment names; raises ConfigurationError, which never quotes them."""
    text, source = identity_text()
    try:
        return identities_in(text)
    except ValueError as error:
        raise ConfigurationError([Problem(f"{source} has no usable private key: {error}", "give a file of age-keygen, or an SSH key without a passphrase")]) from None  # fmt: skip


@task("try the keys", QUICK)
def try_keys(plan: Plan, identities: Sequence[Identity], *, every: bool = False) -> KeyCheck:
    """Try the keys on the kept backups of a plan, or of all databases of a server."""
    if plan.databases:
        found = KeyCheck((), 0, 0)
        for member in all_members(plan):
            label = member.plan.name.partition("/")[2] + "/"
            found += check_keys(repository_of(member.plan), member.backups, identities, every=every, label=label)
    else:
        repository = repository_of(plan)
        found = check_keys(repository, repository.backups(), identities, every=every)
    found = replace(found, at_hand=tuple(identity.fingerprint for identity in identities))
    if found.locked:
        get_run_logger().error("%s. Not: %s", found.sentence, found.which)
    else:
        get_run_logger().info(found.sentence)
    return found
