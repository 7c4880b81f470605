"""Write to all of a plan's destinations in one run: each by itself, so that one that fails costs the others nothing."""

from __future__ import annotations

import random
import threading
from collections.abc import Callable, Collection, Iterator, Mapping
from concurrent.futures import FIRST_COMPLETED, Future, wait
from contextlib import contextmanager
from datetime import datetime, timedelta
from functools import partial
from typing import TypeVar

from blocks.errors import UPLOAD, PgRoundtripError, StorageError, StorageTimeout
from tasks.engine.repository.catalog import Backup
from tasks.engine.repository.fan_out import FanOut, Note, lane_upload
from tasks.engine.repository.manifest import Manifest
from tasks.engine.repository.names import name_at
from tasks.engine.repository.repository import Repository
from tasks.engine.repository.upload import Upload, settle

T = TypeVar("T")
# How long a destination may take to answer a question while others have answered it.
_ANSWER_S = 30.0
_MOST_CLAIMS, _APART_S = 20, 9
_CROWDED = "many backups of one folder begin in the same second; give each database its own BACKUP_PREFIX"


class Destinations:
    """Where a run writes to, by name, the first one first; `away` says why a destination takes no part any more.

    A plan without copies has one: then every method is what its repository does.
    """

    def __init__(self, repositories: Mapping[str, Repository], required: int = 1, patience_s: float = 600) -> None:
        self.repositories = dict(repositories)
        self.required = min(max(1, required), len(self.repositories))
        self.patience_s = patience_s
        self.away: dict[str, PgRoundtripError] = {}
        self._sent: FanOut | None = None

    @property
    def several(self) -> bool:
        """Whether there are copies."""
        return len(self.repositories) > 1

    @property
    def first(self) -> Repository:
        """The repository of the first destination that is not away."""
        return next(iter(self.there.values()), next(iter(self.repositories.values())))

    @property
    def there(self) -> dict[str, Repository]:
        """The repositories that are not known to be away."""
        return {name: found for name, found in self.repositories.items() if name not in self.away}

    @property
    def holding(self) -> dict[str, Repository]:
        """The repositories that the object of this run was sent to."""
        names = self._sent.names if self._sent else self.repositories
        return {name: self.repositories[name] for name in names}

    def ask(
        self, question: Callable[[str, Repository], T], among: Mapping[str, Repository] | None = None
    ) -> dict[str, T]:
        """Ask all that are there at once; one that fails, or is much slower than others, is away from then on.

        Raises the error of one if none answers.
        """
        if not self.several:
            return {name: question(name, found) for name, found in self.repositories.items()}
        asked = self.there if among is None else among
        if not asked:  # a task that is tried again
            self.away.clear()
            asked = self.repositories
        pending = {name: _asked(question, name, found) for name, found in asked.items()}
        _await(pending.values(), min(self.required, len(pending)))
        for name, answer in pending.items():
            if error := _error_of(answer):
                self.away[name] = error
            else:
                self.away.pop(name, None)
        answers = {name: answer.result() for name, answer in pending.items() if name not in self.away}
        if not answers:
            raise self.away[next(iter(asked))]
        return answers

    def free_name(self, moment: datetime) -> str:
        """Return a name that is free in all that answer: one that is taken in any is taken."""
        if not self.several:
            return self.first.free_name(moment)
        while any(self.ask(_has(name_at(moment))).values()):
            moment += timedelta(seconds=1)
        return name_at(moment)

    @contextmanager
    def begun(self, moment: datetime, expected_bytes: int, note: Note) -> Iterator[tuple[str, Upload | FanOut]]:
        """Begin, and leave nothing behind if what follows fails or is told to stop before the object is complete."""
        name, sink = self.begin(moment, expected_bytes, note)
        try:
            yield name, sink
        except BaseException:
            sink.abort()
            raise

    def begin(self, moment: datetime, expected_bytes: int, note: Note) -> tuple[str, Upload | FanOut]:
        """Claim the name of a backup in all of them, and open its object; each that fails now is left out.

        Raises the error of one if fewer than are required take part.
        """
        if not self.several:
            return self.first.begin(moment, expected_bytes)
        self.away.clear()  # what was away a moment ago may be back: a dump takes longer
        for _ in range(_MOST_CLAIMS):
            name = self.free_name(moment)
            claimed = self._claim(name)
            if claimed is not None:
                for left_out, error in self.away.items():
                    note(left_out, error)
                lanes = {d: (self.repositories[d].store, upload) for d, upload in claimed.items()}
                self._sent = FanOut(lanes, expected_bytes, self.required, self.patience_s, self._noting(note))
                return name, self._sent
            moment += timedelta(seconds=random.randint(1, _APART_S))  # noqa: S311
        raise StorageError(f"{name}: others take every name", during=UPLOAD, hint=_CROWDED, transient=True)

    def _claim(self, name: str) -> dict[str, Upload] | None:
        """Claim a name everywhere; None, and nothing is left, if another run has it in one of them."""
        uploads = {
            d: lane_upload(found.store, found.key(name), found.other_key(name)) for d, found in self.there.items()
        }
        try:
            claims = self.ask(lambda d, _: uploads[d].claim(), self.there)
        except BaseException:
            for upload in uploads.values():
                upload.abort()
            raise
        for d in uploads.keys() - claims.keys():  # it may yet answer, and would keep what it began
            threading.Thread(target=uploads[d].abort, name="destination", daemon=True).start()
        if all(claims.values()) and len(claims) >= self.required:
            return {d: uploads[d] for d in claims}
        for d, done in claims.items():
            if done:
                uploads[d].abort()
        if all(claims.values()):
            raise next(iter(self.away.values()))
        return None

    def _noting(self, note: Note) -> Note:
        def noted(name: str, error: PgRoundtripError) -> None:
            self.away[name] = error
            note(name, error)

        return noted

    def commit(self, manifest: Manifest, companion: bytes, note: Note) -> dict[str, Backup]:
        """Write the manifest wherever the object is; returns the backup in each that holds it now.

        Raises the error of one if fewer than are required do. A copy that is whole stays all the same.
        """
        if not self.several:
            return {name: found.commit(manifest, companion) for name, found in self.repositories.items()}
        made = self.ask(lambda _, found: found.commit(manifest, companion), self.holding)
        for name in self.holding.keys() - made.keys():
            note(name, self.away[name])
        if len(made) < self.required:
            raise next(iter(self.away.values()))
        return made


def _has(name: str) -> Callable[[str, Repository], bool]:
    return lambda _, found: found.has(name)


def _asked(question: Callable[[str, Repository], T], name: str, repository: Repository) -> Future[T]:
    """Ask in a thread that doesn't keep the process from ending."""
    answer: Future[T] = Future()
    ask = partial(question, name, repository)
    threading.Thread(target=settle, args=(answer, ask), name="destination", daemon=True).start()
    return answer


def _await(pending: Collection[Future[T]], enough: int) -> None:
    """Wait for all answers; once there are enough, only for a while."""
    late = set(pending)
    while late:
        good = [answer for answer in pending if answer.done() and not answer.exception()]
        if len(good) >= enough:
            wait(late, _ANSWER_S)
            return
        _, late = wait(late, return_when=FIRST_COMPLETED)


def _error_of(answer: Future[T]) -> PgRoundtripError | None:
    """Return why there is no answer; whatever it is, it costs the others nothing."""
    if not answer.done():
        return StorageTimeout(f"no answer in {_ANSWER_S:.0f} s", during=UPLOAD)
    error = answer.exception()
    if error is None or isinstance(error, PgRoundtripError):
        return error
    return StorageError(type(error).__name__, during=UPLOAD)
