"""Without a Prefect server, flows are plain functions: they say what Prefect would, once, and can't be deployed."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from flows.runs.logs import TOLD_TO_STOP
from flows.runs.plain import with_final_state
from tasks.outcome import Outcome


@pytest.mark.parametrize("stop", [SystemExit(143), KeyboardInterrupt()])
def test_a_flow_within_a_flow_is_told_to_stop(stop: BaseException, caplog: pytest.LogCaptureFixture) -> None:
    """A backup that is stopped while it prunes says so once, and the exception that ends it passes unchanged."""

    @with_final_state
    def prune() -> Outcome[None]:
        raise stop

    @with_final_state
    def backup() -> Outcome[None]:
        prune()
        return Outcome("backup", "default", "made")

    with pytest.raises(type(stop)) as ended:
        backup()
    assert ended.value is stop
    assert caplog.messages == [TOLD_TO_STOP]


def test_plain_flows_cannot_be_deployed() -> None:
    """Whoever imports a flow before Prefect is told in which order to import, instead of an AttributeError."""
    script = """
import flows.backup
from blocks.errors import PgRoundtripError
try:
    import flows.deployments
except PgRoundtripError as error:
    print(*error.lines(), sep="\\n")
"""
    environ = {name: value for name, value in os.environ.items() if name != "PREFECT_API_URL"}
    done = subprocess.run([sys.executable, "-c", script], env=environ, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout.splitlines()[0]) == (
        0, "ERROR: The flows are plain functions, which Prefect cannot deploy (PGR-PLAIN-FLOWS)"
    ), done.stderr  # fmt: skip
