"""How a run ended, defined once for everything that reports it: its state, metrics, scripts and messages."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Generic, TypeVar

from blocks.errors import PgRoundtripError
from tasks.engine.repository.manifest import Verdict

Facts = TypeVar("Facts")


@dataclass(frozen=True)
class Outcome(Generic[Facts]):
    """How a run of a verb (`backup`, `prune`, `restore`, `restore-drill`) ended for a plan.

    `facts` are what scripts get. A drill has a verdict, and the code of what kept it from being PROVEN; a run that
    failed has its error. `without` is what a drill's backup leaves out.
    """

    verb: str
    plan: str
    sentence: str
    facts: Facts | None = None
    error: PgRoundtripError | None = None
    verdict: Verdict | None = None
    code: str = ""
    without: str = ""

    @property
    def good(self) -> bool:
        """Whether the run succeeded; for a drill, whether it proved its backup."""
        return self.error is None and self.verdict in (None, Verdict.PROVEN)

    @property
    def message(self) -> str:
        """One line for the run's history: the sentence, with the code and the hint of an error."""
        if self.error:
            return " ".join(self.error.lines()).removeprefix("ERROR: ")
        return f"{self.sentence} ({self.code})" if self.code else self.sentence


def failed(verb: str, plan: str, error: PgRoundtripError) -> Outcome[Facts]:
    """Return the outcome of a run that ended with an error."""
    return Outcome(verb, plan, error.sentence, error=error, code=error.code)
