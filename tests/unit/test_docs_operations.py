"""docs/operations.md has an automation to paste: an alert that misses a failure is worse than none."""

from __future__ import annotations

import json
import re
from pathlib import Path

from prefect.events.schemas.automations import EventTrigger
from prefect.states import Crashed, Failed

from tasks.engine.repository.manifest import Verdict

DOCUMENT = (Path(__file__).parents[2] / "docs" / "operations.md").read_text()


def test_the_automation_sees_every_bad_end() -> None:
    """Prefect names events after the state's name, and a drill's states are named after its verdicts."""
    blocks = [json.loads(block) for block in re.findall(r"```json\n(.*?)```", DOCUMENT, re.DOTALL)]
    trigger = EventTrigger.model_validate(next(block for block in blocks if block.get("type") == "event"))
    bad = {str(Failed().name), str(Crashed().name), *(verdict.value for verdict in Verdict)} - {Verdict.PROVEN.value}
    assert trigger.expect == {f"prefect.flow-run.{name}" for name in bad}
