"""Look every minute whether anything has to be told: a run that does not happen tells nobody anything."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Collection

from blocks.config.plan import Plan
from flows.runs.telling import configured
from tasks.clock import utc_now
from tasks.engine.wording import iso

_LOOK_S, _LONGEST_S = 60.0, 3600.0
_logger = logging.getLogger("prefect.serve")


class Untold:
    """The channels that don't take messages, and since when; each is tried again ever more seldom, up to once an hour."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self.wrong: Collection[str] = ()  # the variables that are left out
        self._since: dict[str, tuple[str, str]] = {}
        self._next: dict[str, tuple[float, float]] = {}

    def waiting(self) -> set[str]:
        """Return the channels whose next turn has not come."""
        return {name for name, (at, _) in self._next.items() if self._clock() < at}

    def heard(self, missing: Collection[str], failed: dict[str, str]) -> None:
        """Take note of the channels that lack a message, and of those that just failed, with the reasons."""
        for name, why in failed.items():
            wait_s = min(_LONGEST_S, 2 * self._next.get(name, (0.0, _LOOK_S / 2))[1])
            self._next[name] = (self._clock() + wait_s, wait_s)
            self._since.setdefault(name, (iso(utc_now()), why))
        for name in set(self._since) - set(missing) - failed.keys():
            del self._since[name]
            self._next.pop(name, None)

    @property
    def channels(self) -> list[str]:
        """The channels that lack a message, and the variables that are left out."""
        return sorted([*self._since, *self.wrong])

    def __str__(self) -> str:
        """What `/health` says; empty if every message arrived."""
        lacking = [
            f"{name} takes no messages since {since}: {why}" for name, (since, why) in sorted(self._since.items())
        ]
        return "; ".join([*lacking, *(f"{name} is invalid" for name in self.wrong)])


async def keep_watch(plan: Plan, flows: tuple[str, ...], untold: Untold) -> None:
    """Look until cancelled; nothing is loaded or looked at if nobody is to be told."""
    settings = configured()
    if settings is None:
        return
    from tasks.notify import faults_of_channels, look  # noqa: PLC0415

    try:
        for name, why in (await asyncio.to_thread(faults_of_channels, settings)).items():
            if why:
                _logger.warning(
                    "%s can't be told of anything: %s\nHINT: pg-roundtrip notify --test tries each channel", name, why
                )
    except Exception as error:  # noqa: BLE001  (no channel may end the service)
        _logger.warning("The channels could not be checked: %s", type(error).__name__)
    while True:
        try:
            told = await asyncio.to_thread(look, settings, plan, flows, untold.waiting(), serves=True)
            untold.heard(told.missing, told.failed)
        except Exception as error:  # noqa: BLE001  (the service goes on, and looks again)
            _logger.warning("A look at the backups failed: %s", type(error).__name__)
        await asyncio.sleep(_LOOK_S)
