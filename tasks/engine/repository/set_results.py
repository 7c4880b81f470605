"""What a run did for each database of a server, for scripts, hooks and people: also when some of them failed."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, ConfigDict

from tasks.engine.repository.manifest import DrillReport, Verdict
from tasks.engine.repository.sets import BackupSet

_WORST_FIRST = (Verdict.FAILED, Verdict.INCONCLUSIVE, Verdict.PROVEN)


class _Result(BaseModel):
    model_config = ConfigDict(frozen=True)


class Failure(_Result):
    """A database for which a run could not be carried out, and why."""

    database: str
    reason: str
    code: str

    def __str__(self) -> str:
        return f"{self.database}: {self.reason}"


class SetBackedUp(_Result):
    """What a backup of several databases took; `counted` is like `11 of 12`."""

    set: str
    counted: str
    done: int
    failed: tuple[Failure, ...]
    databases: tuple[dict[str, Any], ...]
    left_alone: tuple[dict[str, str], ...]

    @property
    def object_bytes(self) -> int:
        """The size of all its backups."""
        return sum(member["object_bytes"] for member in self.databases)

    @classmethod
    def of(cls, made: BackupSet) -> SetBackedUp:
        """Describe a set."""
        return cls(
            set=made.name, counted=made.counted, done=len(made.done), failed=failures_of(made),
            databases=tuple(member.model_dump() for member in made.members),
            left_alone=tuple(one.model_dump() for one in made.left_alone),
        )  # fmt: skip


def failures_of(made: BackupSet) -> tuple[Failure, ...]:
    """Return the databases that a set has no backup of."""
    return tuple(Failure(database=m.database, reason=m.error, code=m.code) for m in made.failed)


class SetRestored(_Result):
    """What a restore of a set brought back."""

    set: str
    counted: str
    rows: int
    failed: tuple[Failure, ...]
    not_in_set: tuple[Failure, ...] = ()


class DatabaseDrilled(_Result):
    """The drill of one database, under the name of its plan."""

    plan: str
    database: str
    report: DrillReport


class SetDrilled(_Result):
    """The drills of several databases, and those that could not be drilled at all."""

    drills: tuple[DatabaseDrilled, ...]
    failed: tuple[Failure, ...] = ()

    @property
    def worst(self) -> DatabaseDrilled | None:
        """The drill whose verdict is that of the run."""
        return min(self.drills, key=lambda one: _WORST_FIRST.index(one.report.verdict), default=None)

    @property
    def proven(self) -> int:
        """How many databases were proven."""
        return sum(one.report.verdict is Verdict.PROVEN for one in self.drills)

    @property
    def counted(self) -> str:
        """How many of all were proven: `11 of 12`."""
        return f"{self.proven} of {len(self.drills) + len(self.failed)}"

    def summary(self) -> dict[str, object]:
        """Return the output of `pg-roundtrip drill --json`, for scripts."""
        return {
            "verdict": self.worst.report.verdict.value if self.worst else None, "counted": self.counted,
            "failed": [one.model_dump() for one in self.failed],
            "databases": [{"plan": one.plan, "database": one.database, **one.report.summary()} for one in self.drills],
        }  # fmt: skip
