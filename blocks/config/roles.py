"""Settings about what lies around a database: roles, tablespaces, and its own settings."""

from __future__ import annotations

from typing import Annotated

from pydantic import BaseModel

from blocks.config.says import Says


class GlobalsSettings(BaseModel):
    """Whether backups come with roles and settings."""

    backup_globals: Annotated[bool | None, Says(
        "Whether each backup comes with [roles, tablespaces and the database's own settings](what-is-in-a-backup.md#roles-and-settings), without passwords. "
        "If unset, it does where the role may read them. With `true`, a backup without them fails.", "true"
    )] = None  # fmt: skip
