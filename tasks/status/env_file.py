"""Find out whether a file with passwords would be committed to a git repository."""

from __future__ import annotations

from pathlib import Path

from blocks.config.environment import child_environment
from tasks.engine.process import run
from tasks.status.findings import Finding

_IGNORED, _NOT_IGNORED = 0, 1


def exposed(path: Path) -> Finding | None:
    """Return a warning if the file is in a git repository that does not ignore it."""
    folder = path.absolute().parent
    try:
        code, _ = run(
            ["git", "check-ignore", "--quiet", "--", path.name], child_environment({}), cwd=folder, timeout_s=10
        )
    except (OSError, TimeoutError):
        code = -1
    if code == _IGNORED or (
        code != _NOT_IGNORED and not any((above / ".git").exists() for above in (folder, *folder.parents))
    ):
        return None
    text = f"{path} has passwords, and git does not ignore it"
    return Finding("git", "warning", text, f"add a line {path.name} to .gitignore before you commit")
