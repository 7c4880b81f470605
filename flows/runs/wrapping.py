"""What wraps a flow's function: Prefect's states, names and slots where runs are recorded, and hardly anything elsewhere."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tasks.orchestration import RECORDED

if TYPE_CHECKING or RECORDED:
    from flows.runs.final_state import run, with_final_state
    from flows.runs.missed_slots import newest_slot_only
    from flows.runs.names import named
    from flows.runs.next_run import say_when_next
else:
    from flows.runs.plain import named, newest_slot_only, run, say_when_next, with_final_state

__all__ = ["named", "newest_slot_only", "run", "say_when_next", "with_final_state"]
