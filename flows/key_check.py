"""Find out whether the private keys at hand open the backups that are kept, before anybody needs them."""

from __future__ import annotations

from blocks.config import DEFAULT
from blocks.config.resolve import resolve_plan
from blocks.errors import KeysNotEnough
from flows.runs.logs import log_plainly
from flows.runs.parameters import PlanName
from flows.runs.wrapping import named, newest_slot_only, with_final_state
from tasks.engine.repository.key_check import KeyCheck
from tasks.engine.repository.manifest import Verdict
from tasks.key_check import identities_at_hand, try_keys
from tasks.orchestration import flow
from tasks.outcome import Outcome

log_plainly()


@flow(name="key-check", flow_run_name=named("key-check"), validate_parameters=False)
@newest_slot_only
@with_final_state
def key_check(plan: PlanName = DEFAULT, every: bool = False) -> Outcome[KeyCheck]:
    """Open the newest, the oldest and a sample of the kept backups with the private keys at hand: their headers only.

    Args:
        plan: Which plan: the name of a saved Backup Plan block, or `default` for the one that the environment describes.
        every: Try every backup instead of a sample.
    """
    found = try_keys(resolve_plan(plan, frozenset({"storage"})), identities_at_hand(), every=every)
    if not found.locked:
        return Outcome("key-check", plan, found.sentence, found, verdict=Verdict.PROVEN)
    sentence = f"{found.sentence}. Not: {found.which}"
    return Outcome("key-check", plan, sentence, found, verdict=Verdict.FAILED, code=KeysNotEnough.code)
