"""The settings of hooks: commands of the user's, which are read from the environment and from nowhere else."""

from __future__ import annotations

import shlex
from typing import Annotated

from pydantic import AfterValidator, BaseModel, Field, SecretStr

from blocks.config.says import Rule, Says


def split_command(text: str) -> tuple[str, ...]:
    """Split a command into words as a shell does; raises ValueError for an open quote or no program."""
    words = tuple(shlex.split(text))
    if not words or not words[0] or "\0" in text:
        raise ValueError("no command")
    return words


def _command(value: SecretStr) -> SecretStr:
    split_command(value.get_secret_value())
    return value


# Secret, because people put tokens into commands.
Command = Annotated[SecretStr, AfterValidator(_command), Rule(
    "it must be a program with its arguments, quoted as in a shell; for pipes and variables, use sh -c '…'"
)]  # fmt: skip


class HookSettings(BaseModel):
    """Commands of yours that run before and after backups, and in drills: see [hooks](hooks.md)."""

    pre_backup_hook: Annotated[Command | None, Says(
        "What runs before each backup. If it fails, the backup isn't taken.", "/opt/hooks/pause-jobs.sh"
    )] = None  # fmt: skip
    pre_backup_hook_required: Annotated[bool, Says(
        "Whether a backup isn't taken if `PRE_BACKUP_HOOK` fails. With `false` it is taken, with a warning.", "false"
    )] = True  # fmt: skip
    post_backup_hook: Annotated[Command | None, Says(
        "What runs after each backup, even one that failed.", "curl -fsS -m 10 https://status.example.com/beat"
    )] = None  # fmt: skip
    on_failure_hook: Annotated[Command | None, Says(
        "What runs after a backup, drill, prune or restore that failed.", "/opt/hooks/page.sh 'backup trouble'"
    )] = None  # fmt: skip
    post_drill_hook: Annotated[Command | None, Says(
        "What runs after each drill that reached a verdict, `INCONCLUSIVE` included.", "/opt/hooks/verdict.sh"
    )] = None  # fmt: skip
    post_restore_check: Annotated[Command | None, Says(
        "[A test of the restored copy](hooks.md#a-test-of-the-restored-copy), which runs in each drill. "
        "If it fails, that is a warning; with `VERIFY_STRICT=true` the drill fails.", "/app/smoke-test.sh"
    )] = None  # fmt: skip
    hook_timeout_s: Annotated[int, Field(ge=1), Rule("it must be a whole number of seconds, 1 or more"), Says(
        "Time limit for each hook in seconds.", "1800"
    )] = Field(default=300, validation_alias="HOOK_TIMEOUT")  # fmt: skip
