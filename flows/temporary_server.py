"""Let a run tell its history how it ended: Ctrl-C in a terminal reaches every process, and would end Prefect's server first."""

from __future__ import annotations

import signal
from typing import Any

from prefect.settings import PREFECT_API_URL, PREFECT_SERVER_EPHEMERAL_ENABLED


def start_out_of_reach() -> None:
    """Start the server that Prefect starts for a run when there is no other; it ends with us, not by Ctrl-C.

    A process inherits which signals are held back, and uvicorn leaves that as it is. SIGTERM, by which it is ended, is not.
    """
    if PREFECT_API_URL.value() or not PREFECT_SERVER_EPHEMERAL_ENABLED.value():
        return
    from prefect.server.api.server import SubprocessASGIServer  # noqa: PLC0415  (needed here alone, and large)

    server = SubprocessASGIServer()
    launch = server._run_uvicorn_command  # noqa: SLF001  (its public `start` waits as well)

    def launch_out_of_reach() -> Any:
        # Only for the moment of the launch: who waits for a server that does not come must be able to leave.
        before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
        try:
            return launch()
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, before)

    server._run_uvicorn_command = launch_out_of_reach  # type: ignore[method-assign]  # noqa: SLF001
    server.start()
