"""Every run imports our blocks, so they import no more than they need."""

from __future__ import annotations

import subprocess
import sys


def test_no_worker_of_another_kind_is_imported() -> None:
    """A web framework and a second AWS client would cost every run 13 MB and a second; only worker users need them."""
    script = """if True:
        import sys
        import blocks.storage
        assert "aiohttp" not in sys.modules and "aiobotocore" not in sys.modules, "imported needlessly"
        from prefect_aws.workers import ECSWorker
        assert ECSWorker.type == "ecs"
    """
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
