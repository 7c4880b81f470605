"""Open a plan's repository with its keys; the engine, which knows nothing of tasks, has the function itself."""

from __future__ import annotations

from tasks.engine.repository.of_plan import repository_of

__all__ = ["repository_of"]
