"""Gather what a recovery sheet says."""

from __future__ import annotations

from blocks.config.age_identity import identity_text
from blocks.config.age_keys import lines_in
from blocks.config.plan import Plan
from tasks.clock import utc_now
from tasks.keys import repository_of
from tasks.status.paper import Section, sheet


def sheet_of(plan: Plan, *, with_private_key: bool) -> list[Section]:
    """Return a plan's recovery sheet; raises ConfigurationError if the private keys are wanted and not at hand."""
    secrets: list[str] = []
    if with_private_key:
        repository_of(plan).keys.identities()  # says what is wrong with them
        text, _ = identity_text()
        text = text.replace("\\n", "\n")
        secrets = text.splitlines() if "-----BEGIN" in text else [line for _, line in lines_in(text)]
    return sheet(plan, plan.encryption.recipients, secrets, utc_now())
