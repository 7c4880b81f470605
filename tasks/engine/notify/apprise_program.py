"""The process that runs apprise: it reads a request from its environment, and prints one line of JSON.

apprise logs why a message failed, with parts of the address, so only what is not in the address is passed on.
"""

from __future__ import annotations

import json
import logging
import random
import re
import sys
import threading
import time
from typing import Any

from blocks.config.environment import variable
from tasks.engine.notify.apprise import NOT_AN_ADDRESS, REQUEST
from tasks.engine.notify.message import shortened

_REASON = 200


class _Reasons(logging.Handler):
    """Keep the newest warning of each thread."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.by_thread: dict[int, str] = {}

    def emit(self, record: logging.LogRecord) -> None:
        self.by_thread[threading.get_ident()] = record.getMessage()


def without_secrets(reason: str, url: str) -> str:
    """Return a reason without addresses and without any word of the address that it is about."""
    words = sorted({w for w in re.split(r"[^\w.+-]+", url) if len(w) > 3}, key=len, reverse=True)
    plain = re.sub(r"\w+://\S+", "…", reason)
    for word in words:
        plain = plain.replace(word, "…")
    return shortened(" ".join(plain.split()), _REASON)


def main() -> None:
    """Send, or only check, and print the results by name."""
    import apprise  # noqa: PLC0415  (the reason for this process)

    asked = json.loads(variable(REQUEST))
    reasons = _Reasons()
    logger = logging.getLogger("apprise")
    logger.addHandler(reasons)
    logger.propagate = False
    results: dict[str, str] = {}

    def work(name: str, url: str) -> None:
        app = apprise.Apprise()
        if not app.add(url):
            results[name] = NOT_AN_ADDRESS
        elif message := asked.get("message"):
            sent = _sent(app, message, time.monotonic() + float(asked["within_s"]) - 2)
            results[name] = (
                ""
                if sent
                else without_secrets(reasons.by_thread.get(threading.get_ident(), ""), url) or "apprise failed"
            )
        else:
            results[name] = ""

    threads = [threading.Thread(target=work, args=pair, daemon=True) for pair in asked["urls"].items()]
    deadline = time.monotonic() + float(asked.get("within_s", 30)) - 1
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(max(0.0, deadline - time.monotonic()))
    late = {name: "no answer in time" for name in asked["urls"] if name not in results}
    sys.stdout.write(json.dumps({**results, **late}) + "\n")
    sys.stdout.flush()


def _sent(app: Any, message: dict[str, str], deadline: float) -> bool:
    """Try until it is sent or too late, waiting longer each time; apprise does not say whether trying again may help."""
    for attempt in range(8):
        if app.notify(
            body=message["body"], title=message["title"], notify_type=_TYPES[message["severity"]], body_format="text"
        ):
            return True
        wait_s = 2.0**attempt * random.uniform(0.5, 1)  # noqa: S311
        if time.monotonic() + wait_s >= deadline:
            break
        time.sleep(wait_s)
    return False


_TYPES = {"error": "failure", "warning": "warning", "info": "info"}

if __name__ == "__main__":
    main()
