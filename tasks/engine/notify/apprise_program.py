"""The process that runs apprise: it reads a request from its environment, and prints lines of JSON.

apprise logs why a message failed, with parts of the address, so only what is not in the address is passed on.
"""

from __future__ import annotations

import json
import logging
import os
import random
import re
import sys
import threading
import time
from typing import Any
from urllib.parse import unquote, unquote_plus

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
    parts = re.split(r"[/:@?&=,#\s]+", url)
    parts += [part for raw in parts for part in (unquote(raw), unquote_plus(raw))]
    words = sorted({w for w in (*parts, *re.split(r"[^\w.+-]+", url)) if len(w) > 3}, key=len, reverse=True)
    plain = re.sub(r"\w+://\S+", "…", reason)
    for word in words:
        plain = plain.replace(word, "…")
    return shortened(" ".join(plain.split()), _REASON)


def main() -> None:
    """Send, or only check; print the result of each address as soon as it is known."""
    import apprise  # noqa: PLC0415  (the reason for this process)

    asked = json.loads(variable(REQUEST))
    reasons = _Reasons()
    logger = logging.getLogger("apprise")
    logger.addHandler(reasons)
    logger.propagate = False

    def work(name: str, url: str) -> None:
        app, why = apprise.Apprise(), ""
        if not app.add(url):
            why = NOT_AN_ADDRESS
        elif "message" in asked and not _sent(app, asked["message"]):
            why = without_secrets(reasons.by_thread.get(threading.get_ident(), ""), url) or "apprise does not say why"
        # One write for a line, so that those of several threads don't mix.
        os.write(sys.stdout.fileno(), json.dumps({name: why}).encode() + b"\n")

    for pair in asked["urls"].items():
        threading.Thread(target=work, args=pair).start()


def _sent(app: Any, message: dict[str, str]) -> bool:
    """Try three times, waiting longer each time: apprise does not say whether trying again may help."""
    for attempt in range(3):
        time.sleep((2.0**attempt - 1) * random.uniform(0.5, 1))  # noqa: S311
        kind = _TYPES[message["severity"]]
        if app.notify(body=message["body"], title=message["title"], notify_type=kind, body_format="text"):
            return True
    return False


_TYPES = {"error": "failure", "warning": "warning", "info": "info"}

if __name__ == "__main__":
    main()
