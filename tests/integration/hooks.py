"""Commands for hooks that note what they are told."""

from __future__ import annotations

import base64
from pathlib import Path


class Noted:
    """Makes commands that note their environment in a file, each time that they run, and end with a given code."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._lines = folder / "lines"

    def hook(self, code: int = 0, then: str = "") -> str:
        """Return a command for a hook, which runs a bit of shell after it has noted its environment."""
        path = self._folder / f"noted {len(list(self._folder.glob('noted *')))}.sh"
        note = 'env -0 | base64 -w0; printf " "; base64 -w0 "${PG_ROUNDTRIP_REPORT:-/dev/null}"; echo'
        path.write_text(f"#!/bin/sh\nnote=$({note})\necho \"$note\" >> '{self._lines}'\n{then}\nexit {code}\n")
        path.chmod(0o755)
        return f"'{path}' argument"

    def runs(self) -> list[dict[str, str]]:
        """Return the environment of each run; `report` is the document that it was given."""
        found = []
        for line in self._lines.read_text().splitlines() if self._lines.exists() else []:
            environ, report = (base64.b64decode(part).decode() for part in line.split(" "))
            found.append({**dict(pair.split("=", 1) for pair in environ.split("\0") if pair), "report": report})
        return found

    def events(self) -> list[tuple[str, str]]:
        """Return the event and the status of each run."""
        return [(run["PG_ROUNDTRIP_EVENT"], run.get("PG_ROUNDTRIP_STATUS", "")) for run in self.runs()]


def told(run: dict[str, str]) -> dict[str, str]:
    """Return the variables that tell a hook what happened, without their prefix."""
    return {n.removeprefix("PG_ROUNDTRIP_"): v for n, v in run.items() if n.startswith("PG_ROUNDTRIP_")}
