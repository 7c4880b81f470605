"""Run the user's hooks before and after what a flow does, whoever runs it."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from functools import wraps
from inspect import signature
from typing import Any, ParamSpec, TypeVar

from blocks.config import DEFAULT
from blocks.config.hook_settings import HookSettings
from blocks.config.hooks import load_hooks
from blocks.config.plan import Plan
from blocks.config.resolve import resolve_plan
from blocks.errors import PgRoundtripError
from tasks.hooks import Name, at_end, at_start, hurried, run_hook
from tasks.orchestration import get_run_logger
from tasks.outcome import Outcome, failed

P = ParamSpec("P")
R = TypeVar("R")
_AT_LAST_S = 3


def with_hooks(run: Callable[P, Outcome[R]]) -> Callable[P, Outcome[R]]:
    """Run hooks around a flow's function, if any are set."""

    @wraps(run)
    def hooked(*args: P.args, **kwargs: P.kwargs) -> Outcome[R]:
        given = signature(run).bind(*args, **kwargs).arguments
        hooks, verb, plan = load_hooks(), run.__name__.replace("_", "-"), str(given.get("plan", DEFAULT))
        # A dry run does nothing that a hook could concern.
        if given.get("dry_run") or not _any(hooks):
            return run(*args, **kwargs)
        return _Hooked(hooks, verb, plan).around(lambda: run(*args, **kwargs))

    return hooked


def after_failure(outcome: Outcome[Any]) -> None:
    """Run ON_FAILURE_HOOK for a run that could not begin, or whose process was killed."""
    # Not as a task: there is no run that it could belong to.
    _Hooked(load_hooks(), outcome.verb, outcome.plan).after(outcome, run_hook.fn)


class _Hooked:
    def __init__(self, hooks: HookSettings, verb: str, plan: str) -> None:
        self._hooks, self._verb, self._name = hooks, verb, plan
        self._plan = _found(plan)
        self._begun = False

    def around(self, run: Callable[[], Outcome[R]]) -> Outcome[R]:
        """Run what is to be run, with hooks before and after it, however it ends."""
        try:
            self._before()
            outcome = run()
        except PgRoundtripError as error:
            self.after(failed(self._verb, self._name, error))
            raise
        except Exception as error:
            self.after(failed(self._verb, self._name, PgRoundtripError(type(error).__name__)))
            raise
        except BaseException:
            self._at_last()
            raise
        self.after(outcome)
        return outcome

    def _before(self) -> None:
        """Prepare for a backup; raises what the run would if its plan can't be found.

        The run's own look could be luckier, and a backup would be taken without its hook.
        """
        if self._verb == "backup":
            self._plan = self._plan or resolve_plan(self._name, frozenset({"database", "storage"}))
            self._begun = True
            if self._hooks.pre_backup_hook:
                run_hook("pre_backup_hook", self._hooks, self._plan, at_start(self._verb, self._name))

    def after(self, outcome: Outcome[Any], run: Callable[..., None] | None = None) -> None:
        """Run the hooks that concern how a run ended."""
        wanted: dict[Name, bool] = {
            "post_backup_hook": self._begun,
            "post_drill_hook": outcome.verdict is not None,
            "on_failure_hook": not outcome.good,
        }
        for name in (name for name, applies in wanted.items() if applies and getattr(self._hooks, name)):
            try:
                (run or run_hook)(name, self._hooks, self._plan, at_end(outcome, self._plan))
            except Exception as error:  # noqa: BLE001  (no hook may cost a done backup)
                get_run_logger().warning("A hook could not be run: %s", type(error).__name__)

    def _at_last(self) -> None:
        """Let what was paused before a backup go on, even if the run was told to stop; not as a task, which takes longer."""
        if self._begun:
            stopped = Outcome[None](self._verb, self._name, "the run was told to stop")
            occasion = at_end(stopped, self._plan, "stopped")
            with contextlib.suppress(Exception):  # what stops us goes on
                run_hook.fn("post_backup_hook", hurried(self._hooks, _AT_LAST_S), self._plan, occasion)


def _any(hooks: HookSettings) -> bool:
    return any((hooks.pre_backup_hook, hooks.post_backup_hook, hooks.post_drill_hook, hooks.on_failure_hook))


def _found(name: str) -> Plan | None:
    """Return the plan, None if it can't be found: that is for the run itself to report."""
    try:
        return resolve_plan(name, frozenset({"storage"}))
    except PgRoundtripError:
        return None
