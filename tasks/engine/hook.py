"""Run a command of the user's: whatever it does, it ends in time, and its output is logged in bounds, without secrets."""

from __future__ import annotations

import os
import select
import signal
import time
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from blocks.config.secrets import Mask
from tasks.engine.process import Child
from tasks.engine.wording import visible

_LINE_BYTES, _SHOWN = 16_384, 500
_FIRST, _LAST = 200, 20
_READ_BYTES = 65_536
_STEP_S = 0.05
_LINGER_S = 1.0  # for what a program leaves running, with our pipe open
_PATIENCE_S = 2.0  # between SIGTERM and SIGKILL; less than what we have ourselves
# A shell exits so when a program isn't there, or can't be executed.
_NOT_RUN = (126, 127)


@dataclass(frozen=True)
class Hook:
    """A command, the variable that it comes from, what it gets as its environment, and what it must not show."""

    setting: str
    command: tuple[str, ...] = field(repr=False)
    environ: Mapping[str, str] = field(repr=False)
    timeout_s: float
    mask: Mask

    @property
    def program(self) -> str:
        """The program's name, for the log: arguments may hold a token."""
        return visible(self.mask(Path(self.command[0]).name))[:_SHOWN]


@dataclass(frozen=True)
class HookEnd:
    """How a hook ended: what went wrong, empty if nothing did, and whether it ran to an exit code of its own."""

    trouble: str = ""
    ran: bool = True


def carry_out(hook: Hook, hear: Callable[[str], None]) -> HookEnd:
    """Run a hook to its end, with all that it starts in its process group; `hear` gets each line that it prints."""
    said = _Said(hook.mask, hear)
    try:
        child = Child(hook.command, hook.environ, read="all", cwd=".")
    except (OSError, ValueError) as error:
        why = error.strerror if isinstance(error, OSError) else "its arguments are not valid"
        return HookEnd(f"{hook.program} could not be started: {why}", ran=False)
    with child:
        try:
            in_time = _follow(child, said, time.monotonic() + hook.timeout_s)
        finally:
            code = child.end_group(_PATIENCE_S)
    said.end()
    if not in_time:
        return HookEnd(f"{hook.program} did not end within {hook.timeout_s:g} s", ran=False)
    if code < 0:
        return HookEnd(f"{hook.program} was ended by {signal.Signals(-code).name}", ran=False)
    return HookEnd(f"{hook.program} exited with code {code}", ran=code not in _NOT_RUN) if code else HookEnd()


def _follow(child: Child, said: _Said, deadline: float) -> bool:
    """Listen until the program has exited and its output has ended; return whether it exited in time."""
    poller, listening = select.poll(), True
    poller.register(child.output, select.POLLIN)
    while (now := time.monotonic()) < deadline:
        if not listening:
            time.sleep(_STEP_S)
        elif poller.poll(_STEP_S * 1000):
            data = os.read(child.output, _READ_BYTES)
            said.hear(data)
            listening = bool(data)
        if child.exited:
            if not listening:
                return True
            deadline = min(deadline, now + _LINGER_S)
    return child.exited


class _Said:
    """Turn output into lines: bounded in length and number, without control characters and secrets."""

    def __init__(self, mask: Mask, hear: Callable[[str], None]) -> None:
        self._mask, self._hear = mask, hear
        self._line, self._cut, self._lines = bytearray(), False, 0
        self._last: deque[str] = deque(maxlen=_LAST)

    def hear(self, data: bytes) -> None:
        *lines, rest = data.split(b"\n")
        for line in lines:
            self._add(line)
            self._end_line()
        self._add(rest)

    def end(self) -> None:
        """Pass on the last lines, and say how many were left out before them."""
        if self._line:
            self._end_line()
        left_out = self._lines - _FIRST - len(self._last)
        if left_out > 0:
            self._hear(f"… {left_out:,} more lines …")
        for line in self._last:
            self._hear(line)

    def _add(self, piece: bytes) -> None:
        room = _LINE_BYTES - len(self._line)
        self._line += piece[:room]
        self._cut = self._cut or len(piece) > room

    def _end_line(self) -> None:
        self._lines += 1
        shown = self._shown()
        self._line, self._cut = bytearray(), False
        if self._lines > _FIRST:
            self._last.append(shown)
        else:
            self._hear(shown)

    def _shown(self) -> str:
        # What a progress bar showed last.
        text = self._mask(self._line.decode(errors="replace").rstrip("\r").rpartition("\r")[2])
        if self._cut:  # perhaps in the middle of a secret
            text = text[: -self._mask.longest or None]
        shown = visible(text)
        return shown if len(shown) <= _SHOWN else f"{shown[:_SHOWN]}…"
