"""Let runs take turns where memory is small: a backup and a drill at the same time need more than 512 MB."""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Callable
from pathlib import Path
from uuid import UUID

import anyio
from prefect.runner._limit_manager import LimitManager

_ENOUGH_BYTES = 1 << 30
# So long a backup that is due waits for a drill at most: a drill can take hours.
LONGEST_WAIT_S = 15 * 60
_CGROUPS = Path("/sys/fs/cgroup")
_OWN_CGROUP = Path("/proc/self/cgroup")


class Turns(LimitManager):
    """A runner's limit: one run at a time where memory is small, but none waits longer than a while for another."""

    def __init__(self, *, small: bool, clock: Callable[[], float] = time.monotonic) -> None:
        super().__init__(limit=None)
        self._small, self._clock = small, clock
        self._held: dict[UUID, float] = {}

    @property
    def taken(self) -> bool:
        """Whether whatever is due must wait."""
        return self._small and any(self._clock() - since < LONGEST_WAIT_S for since in self._held.values())

    def acquire(self) -> UUID:
        """Take a turn and return the token that ends it; raises WouldBlock while it is another run's."""
        if self.taken:
            raise anyio.WouldBlock
        token = super().acquire()
        self._held[token] = self._clock()
        return token

    def release(self, token: UUID) -> None:
        """End a turn."""
        self._held.pop(token, None)


def memory_is_small() -> bool:
    """Whether this process may use less than 1 GiB: the limit of its container or service, or the machine's memory."""
    return min([os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"), *_limits_bytes()]) < _ENOUGH_BYTES


def _limits_bytes() -> list[int]:
    """Read the limits of this process's control group and those above it, in both versions of control groups."""
    files = []
    for line in _text(_OWN_CGROUP).splitlines():
        number, _, controllers_and_path = line.partition(":")
        controllers, _, own = controllers_and_path.partition(":")
        if number == "0":
            files += _in_each(_CGROUPS, own, "memory.max")
        elif "memory" in controllers.split(","):
            files += _in_each(_CGROUPS / "memory", own, "memory.limit_in_bytes")
    return [int(text) for file in files if (text := _text(file).strip()).isdigit()]


def _in_each(root: Path, own: str, name: str) -> list[Path]:
    # In a container, the root that it sees may be its own group, whatever path the host knows that by.
    return [root / str(group).lstrip("/") / name for group in (Path(own), *Path(own).parents)]


def _text(file: Path) -> str:
    with contextlib.suppress(OSError):
        return file.read_text()
    return ""
