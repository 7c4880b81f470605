"""The base of all our errors: a sentence, a stable code, what to do, and whether a retry may help."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

_CODE = re.compile(r"\((PGR-[A-Z0-9-]+)\)")


class PgRoundtripError(Exception):
    """Base class of all errors: what happened, what to do about it, and whether a retry may help.

    `message` is the sentence; `context` narrows it down and is printed in brackets; `hint` says what to do.
    None of the three may contain a secret: they are logged, shown in the Prefect UI and kept in reports.
    `code` stays the same when the wording changes; `cause` is the label by which metrics count failures.
    """

    message = "Something went wrong"
    code = "PGR-UNKNOWN"
    cause = "other"
    hint = ""
    transient = False
    exit_status = 1

    def __init__(
        self,
        context: str = "",
        *,
        message: str | None = None,
        hint: str | None = None,
        transient: bool | None = None,
    ) -> None:
        self.context = context
        self.logged = False  # whether the run's log already has it
        if message is not None:
            self.message = message
        if hint is not None:
            self.hint = hint
        if transient is not None:
            self.transient = transient
        super().__init__(self.sentence)

    @property
    def sentence(self) -> str:
        """The message with its context, on one line, without the hint."""
        context = " ".join(self.context.split())
        return f"{self.message} [{context}]" if context else self.message

    def veil(self) -> None:
        """Forget what narrows it down, which may quote a database whose backups are encrypted."""
        self.context, self.hint = "", type(self).hint
        self.args = (self.sentence,)

    def lines(self) -> list[str]:
        """The error as a user reads it: `ERROR: … (code)`, then `HINT: …` when there is one."""
        return [f"ERROR: {self.sentence} ({self.code})"] + ([f"HINT: {self.hint}"] if self.hint else [])


@dataclass(frozen=True)
class Problem:
    """One problem with the configuration."""

    message: str
    hint: str = ""


class ConfigurationError(PgRoundtripError):
    """All problems with the configuration, reported together so that the user can fix them in one go."""

    message = "The configuration is not usable"
    code = "PGR-CONFIG"
    cause = "configuration"
    exit_status = 2

    def __init__(self, faults: Sequence[Problem]) -> None:
        self.problems = tuple(faults)
        super().__init__(message="; ".join(f.message for f in self.problems))

    def lines(self) -> list[str]:
        """Every problem with its hint, in the order of the documentation."""
        return [
            line
            for fault in self.problems
            for line in (f"ERROR: {fault.message} ({self.code})", f"HINT: {fault.hint}" if fault.hint else "")
            if line
        ]


class NoSpaceLeft(PgRoundtripError):
    """A disk is full."""

    message = "No space left on device"
    code = "PGR-DISK-FULL"
    cause = "disk_full"
    hint = "free some space, then run it again"


class TemporaryFileFailed(PgRoundtripError):
    """No folder for temporary files is usable."""

    message = "A temporary file could not be written"
    code = "PGR-TEMPORARY-FILE"


class DemoFailed(PgRoundtripError):
    """A server of the demo did not start."""

    message = "A server for the demo did not start"
    code = "PGR-DEMO-FAILED"
    hint = "run it again; a port may have been taken"


def family(root: type[PgRoundtripError] = PgRoundtripError) -> Iterator[type[PgRoundtripError]]:
    """Yield all error classes, the root first."""
    yield root
    for child in root.__subclasses__():
        yield from family(child)


def code_in(text: str) -> str:
    """Return the last error code in a printed error or in a run's message; empty if there is none."""
    return found[-1] if (found := _CODE.findall(text)) else ""
