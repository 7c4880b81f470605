"""Let a command of the user's test the restored copy, and say in the report what came of it."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from dataclasses import replace

from blocks.errors import HookFailed
from blocks.sql.server import Server
from blocks.sql.url import application_url
from tasks.engine.hook import Hook, HookEnd, carry_out
from tasks.engine.repository import checks as checklist
from tasks.engine.repository.manifest import Check

NAME = "post-restore check"
Logger = logging.Logger | logging.LoggerAdapter[logging.Logger]
_HINT = "this says nothing about the backup; correct POST_RESTORE_CHECK or raise HOOK_TIMEOUT, then drill again"


def run_own_check(
    copy: Server, hook: Hook | None, place: str, *, strict: bool, logger: Logger, remaining_s: Callable[[], float]
) -> list[Check]:
    """Run the test, if there is one, and return its check. It may change the copy, so nothing is compared afterwards.

    Raises what `remaining_s` raises when no time is left.
    """
    if hook is None:
        return []
    begun, address = time.monotonic(), copy.parameters()
    url = application_url(address)
    told = {**copy.child_environment(), "PG_ROUNDTRIP_RESTORED_URL": url, "PG_ROUNDTRIP_PLACE": place}
    mask = hook.mask.with_more([url, address.get("password", "")])
    limited = replace(hook, environ={**hook.environ, **told}, mask=mask, timeout_s=min(hook.timeout_s, remaining_s()))
    logger.info("Running %s: %s", hook.setting, hook.program)
    ended = carry_out(limited, lambda line: logger.info("%s: %s", hook.setting, line))
    remaining_s()
    if ended.trouble:
        logger.warning("%s: %s", hook.setting, ended.trouble)
    return checklist.timed([judged(ended, hook, strict=strict)], time.monotonic() - begun)


def judged(ended: HookEnd, hook: Hook, *, strict: bool) -> Check:
    """Return the check: a test that did not run to an exit code of its own says nothing about the backup."""
    if not ended.trouble:
        return checklist.passed(NAME, f"{hook.program} exited with code 0")
    if not ended.ran:
        return checklist.not_possible(NAME, ended.trouble)
    return (checklist.failed if strict else checklist.warned)(NAME, ended.trouble)


def require_own_check(made: list[Check], *, strict: bool) -> None:
    """Raise HookFailed if the test could not be made, and is not to be left out."""
    if strict and made and made[0].result == "not possible":
        raise HookFailed(f"POST_RESTORE_CHECK: {made[0].evidence}", hint=_HINT)
