"""Check whether the programs of hooks can be started, without starting any."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

from pydantic import SecretStr

from blocks.config.hook_settings import split_command
from blocks.config.hooks import load_hooks
from blocks.config.load import variable_of
from tasks.engine.wording import visible
from tasks.status.findings import Finding

_HINT = "give its absolute path, as it is where this runs; a script needs chmod +x and a first line such as #!/bin/sh"


def check_hooks() -> Iterator[Finding]:
    """Report each hook that is set, with the program that it would start."""
    for field, command in load_hooks():
        if isinstance(command, SecretStr):
            program = split_command(command.get_secret_value())[0]
            found = shutil.which(program)
            why = "" if found else _why_not(program)
            text = f"{visible(program)} {why}" if why else visible(str(found))
            yield Finding(variable_of(field), "error" if why else "ok", text, _HINT if why else "")


def _why_not(program: str) -> str:
    if os.sep not in program:
        return "is not in the PATH"
    path = Path(program)
    return "is not there" if not path.exists() else "is a folder" if path.is_dir() else "is not executable"
