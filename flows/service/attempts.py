"""Throttle password guessing in bounded memory, without locking out those who know the password."""

from __future__ import annotations

import ipaddress
import logging
import time
from collections import OrderedDict, deque
from collections.abc import Callable

_FREE = 5
_LONGEST_S = 60.0
_ALL_A_MINUTE = 100
_REMEMBERED, _KNOWN = 4096, 256
_MINUTE_S = 60.0
_OWN_RUNS = "127.0.0.1"
_logger = logging.getLogger("prefect.serve")


class Attempts:
    """Count failed logins per address and in total.

    After five failures an address must wait a second, then two, up to a minute; until then its logins are rejected
    unchecked. An attacker with many addresses gets a hundred guesses a minute in total. An address that has logged in
    is always checked: attackers elsewhere cannot lock it out, and the service's own runs never wait.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self.failed = 0
        self._clock = clock
        self._by_address: OrderedDict[str, tuple[int, float]] = OrderedDict()
        self._known: OrderedDict[str, None] = OrderedDict({_OWN_RUNS: None})
        self._newest: deque[float] = deque(maxlen=_ALL_A_MINUTE)
        self._told_at, self._untold = -_MINUTE_S, 0

    def wait_s(self, address: str) -> float:
        """Return how long an address must wait before its next login is checked; 0 if it need not."""
        place, now = _place(address), self._clock()
        if place in self._known:
            return 0.0
        until = self._by_address.get(place, (0, 0.0))[1]
        if len(self._newest) == _ALL_A_MINUTE:
            until = max(until, self._newest[0] + _MINUTE_S)
        return max(0.0, until - now)

    def succeed(self, address: str) -> None:
        """Remember an address that logged in."""
        place = _place(address)
        self._by_address.pop(place, None)
        self._known[place] = None
        self._known.move_to_end(place)
        if len(self._known) > _KNOWN:
            self._known.move_to_end(_OWN_RUNS)
            self._known.popitem(last=False)

    def fail(self, address: str) -> None:
        """Count a wrong password, and log it once a minute at most."""
        place, now = _place(address), self._clock()
        self.failed += 1
        count = self._by_address.pop(place, (0, 0.0))[0] + 1
        delay_s = min(_LONGEST_S, 2.0 ** min(count - _FREE, 16)) if count >= _FREE else 0.0
        self._by_address[place] = (count, now + delay_s)
        if len(self._by_address) > _REMEMBERED:
            self._by_address.popitem(last=False)
        if place not in self._known:
            self._newest.append(now)
        self._untold += 1
        if now - self._told_at >= _MINUTE_S:
            _logger.warning("Failed logins: %d since the last such line, the newest from %s", self._untold, place)
            self._told_at, self._untold = now, 0


def _place(address: str) -> str:
    """Return what an address is counted as: for IPv6 its /64 network, since one client can use all of that."""
    try:
        found = ipaddress.ip_address(address.partition("%")[0])
    except ValueError:
        return address[:64]
    if isinstance(found, ipaddress.IPv6Address):
        return str(found.ipv4_mapped or ipaddress.ip_network((int(found), 64), strict=False))
    return str(found)
