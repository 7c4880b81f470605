"""Open the repository of a plan: where its backups are, with all that is needed to read and write them."""

from __future__ import annotations

from blocks.config.plan import Plan
from tasks.engine.repository.repository import Repository


def repository_of(plan: Plan) -> Repository:
    """Return the repository that a plan's backups are in; nothing is asked of the storage yet."""
    return Repository(plan.storage)
