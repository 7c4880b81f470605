"""How a run ended, defined once for everything that reports it: its state, metrics, scripts and messages."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from blocks.errors import PgRoundtripError, SetIncomplete
from tasks.engine.repository.manifest import DrillReport, Verdict
from tasks.engine.repository.set_results import SetDrilled

Facts = TypeVar("Facts")


@dataclass(frozen=True)
class Outcome(Generic[Facts]):
    """How a run of a verb (`backup`, `prune`, `restore`, `restore-drill`) ended for a plan.

    `facts` are what scripts get. A drill has a verdict, and the code of what kept it from being PROVEN; a run that
    failed has its error, and perhaps facts of what was done. `without` is what a drill's backup leaves out.
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
    def report(self) -> DrillReport | None:
        """The report of a drill; of several, the worst."""
        if isinstance(self.facts, SetDrilled):
            return self.facts.worst.report if self.facts.worst else None
        return self.facts if isinstance(self.facts, DrillReport) else None

    @property
    def message(self) -> str:
        """One line for the run's history: the sentence, with the code and the hint of an error."""
        if self.error:
            return " ".join(self.error.lines()).removeprefix("ERROR: ")
        return f"{self.sentence} ({self.code})" if self.code else self.sentence


def failed(verb: str, plan: str, error: PgRoundtripError) -> Outcome[Facts]:
    """Return the outcome of a run that ended with an error."""
    facts: Any = error.facts if isinstance(error, SetIncomplete) else None
    return Outcome(verb, plan, error.sentence, facts, error=error, code=error.code)
