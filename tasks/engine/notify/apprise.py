"""Send by apprise, in a process of its own: it takes 45 MiB, and only when something is told."""

from __future__ import annotations

import contextlib
import json
import os
import sys
from collections.abc import Mapping
from functools import partial

from pydantic import SecretStr

from blocks.config.environment import child_environment, full_environment
from tasks.engine.notify.message import Message
from tasks.engine.process import Child

# How the child gets what it needs: arguments are visible to everyone on the machine.
REQUEST = "PG_ROUNDTRIP_NOTIFY"
_PROGRAM = [sys.executable, "-P", "-m", "tasks.engine.notify.apprise_program"]
_PROXIES = ("HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY", "http_proxy", "https_proxy", "no_proxy", "PYTHONPATH")
_CHECK_S = 30.0
NOT_AN_ADDRESS = "apprise does not know such an address"


def send(urls: Mapping[str, SecretStr], message: Message, within_s: float) -> dict[str, str]:
    """Send to each address; return why it failed, by name, empty where it did not."""
    text = {
        "title": message.title,
        "body": "\n".join([*message.lines(), f"Id: {message.id}"]),
        "severity": message.severity,
    }
    return _asked(urls, {"message": text}, within_s)


def faults(urls: Mapping[str, SecretStr]) -> dict[str, str]:
    """Return what is wrong with each address, without sending: apprise takes a wrong one in silence."""
    return _asked(urls, {}, _CHECK_S)


def _asked(urls: Mapping[str, SecretStr], more: Mapping[str, object], within_s: float) -> dict[str, str]:
    asked = {**more, "urls": {name: url.get_secret_value() for name, url in urls.items()}}
    proxies = {name: value for name, value in full_environment().items() if name in _PROXIES}
    environ = child_environment({REQUEST: json.dumps(asked), **proxies})
    found = dict.fromkeys(urls, "no answer in time")
    try:
        with Child(_PROGRAM, environ, read=True) as child:
            child.limit(within_s)
            # What is said before the time is over counts: it must not be sent twice.
            said = b"".join(iter(partial(os.read, child.output, 65536), b""))
            if child.wait() and not child.timed_out:
                found = dict.fromkeys(urls, "apprise failed")
    except OSError as error:
        return dict.fromkeys(urls, f"apprise could not be started: {error.strerror}")
    for line in said.splitlines():
        with contextlib.suppress(ValueError):  # cut off
            found |= {name: str(why) for name, why in json.loads(line).items() if name in urls}
    return found
