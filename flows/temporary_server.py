"""Keep Prefect's temporary server alive on Ctrl-C, which reaches every process: runs must record how they ended."""

from __future__ import annotations

import signal
from typing import Any

from prefect.settings import PREFECT_API_URL, PREFECT_SERVER_EPHEMERAL_ENABLED


def start_out_of_reach() -> None:
    """Start the temporary server that Prefect uses if there is no other, so that it ends with us and not by Ctrl-C.

    A process inherits its signal mask, and uvicorn does not change it. SIGTERM, which ends the server, is not blocked.
    """
    if PREFECT_API_URL.value() or not PREFECT_SERVER_EPHEMERAL_ENABLED.value():
        return
    from prefect.server.api.server import SubprocessASGIServer  # noqa: PLC0415  (only needed here, and large)

    server = SubprocessASGIServer()
    launch = server._run_uvicorn_command  # noqa: SLF001  (the public `start` also waits)

    def launch_out_of_reach() -> Any:
        # Block it only during the launch: Ctrl-C must work while we wait for a server that does not come up.
        before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
        try:
            return launch()
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, before)

    server._run_uvicorn_command = launch_out_of_reach  # type: ignore[method-assign]  # noqa: SLF001
    server.start()
