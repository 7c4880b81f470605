"""Start the command line with our own packages, whatever PYTHONPATH holds: `flows` and `tasks` are common names."""

from __future__ import annotations

import os
import sys
from pathlib import Path

_PACKAGES = ("blocks", "flows", "tasks")


def main() -> None:
    """Leave out the entries of PYTHONPATH that would hide our packages, for our child processes too; then go on."""
    ours = Path(__file__).resolve().parent
    given = os.environ.get("PYTHONPATH", "").split(os.pathsep)  # noqa: TID251  (before any module of ours can be imported)
    hiding = {e for e in given if e and Path(e).resolve() != ours and any(Path(e, name).exists() for name in _PACKAGES)}
    if hiding:
        os.environ["PYTHONPATH"] = os.pathsep.join(e for e in given if e not in hiding)  # noqa: TID251
        places = {Path(e).resolve() for e in hiding}
        sys.path = [entry for entry in sys.path if Path(entry).resolve() not in places]
    from flows.cli import main as start  # noqa: PLC0415  (only now is it ours)

    start()
