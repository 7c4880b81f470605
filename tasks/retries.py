"""Decide which tasks are tried again, after which errors and how soon; no result is ever reused."""

from __future__ import annotations

from dataclasses import dataclass

from blocks.errors import PgRoundtripError, StorageError


@dataclass(frozen=True)
class RetryPolicy:
    """After which errors a task is tried again: transient ones `of` a kind, once per delay.

    Up to `jitter` of each delay is added to it at random, so that many plans don't try at the same moment.
    """

    delays_s: tuple[float, ...] = ()
    of: type[PgRoundtripError] = PgRoundtripError
    jitter: float = 0.5

    def may_pass(self, error: BaseException | None) -> bool:
        """Whether another attempt may help; an unexpected error is not tried again."""
        return isinstance(error, self.of) and error.transient


# For requests that cost nothing to repeat.
QUICK = RetryPolicy((1, 4))
# For whole dumps and restores, which start over.
LONG = RetryPolicy((5, 20, 60))
# For restores: nothing happens to the target until all of the backup has been read.
READING = RetryPolicy(LONG.delays_s, StorageError)
# For what must not be tried twice.
ONCE = RetryPolicy()
