"""Prove that the history takes records: on a full disk or in a locked database, reading still works."""

from __future__ import annotations

import asyncio
import contextlib
import os
from pathlib import Path

from prefect.client.orchestration import PrefectClient
from prefect.client.schemas.objects import Artifact

from blocks.saved import translated
from flows.service.history import ROOM, TROUBLE, said_of, why_unusable

_ANSWER_S = 20
_GONE = "PREFECT_HOME is no longer the folder that it was at the start"


class Proof:
    """What shows whether Prefect's server can write; `home` is the folder of our own server, None for one elsewhere."""

    def __init__(self, home: Path | None = None) -> None:
        self._home, self._known = home, -1
        if home:
            # Kept open, because some file systems renumber a folder that nobody has open.
            with contextlib.suppress(OSError):
                self._known = os.open(home, os.O_RDONLY | os.O_DIRECTORY)

    async def suspects(self) -> bool:
        """Whether the folder looks full, read-only or replaced; costs nothing, so that each look can ask."""
        return self._home is not None and await asyncio.to_thread(self._looks_unusable, self._home)

    async def refusal(self, client: PrefectClient) -> str:
        """Write as a run would, and return why that fails; empty if it works."""
        if self._home and (why := await asyncio.to_thread(self._why_folder_refuses, self._home)):
            return why
        try:
            # Prefect's client tries again for minutes.
            async with asyncio.timeout(_ANSWER_S):
                with translated():
                    await _write(client)
        except TROUBLE as error:
            return said_of(error)
        return ""

    def _looks_unusable(self, home: Path) -> bool:
        if self._is_another(home):
            return True
        try:
            disk = os.statvfs(home)
        except OSError:
            return True
        # Some file systems don't say their size.
        full = disk.f_blocks > 0 and disk.f_bavail * disk.f_frsize < len(ROOM)
        return full or bool(disk.f_flag & os.ST_RDONLY)

    def _why_folder_refuses(self, home: Path) -> str:
        # A server goes on with the files of a folder that is gone, but its runs find another.
        return _GONE if self._is_another(home) else why_unusable(home)

    def _is_another(self, home: Path) -> bool:
        try:
            return self._known >= 0 and not os.path.samestat(os.fstat(self._known), home.stat())
        except OSError:
            return True


async def _write(client: PrefectClient) -> None:
    """Have the server write something that nobody sees, and remove it; unlike the client's own method, without an event."""
    answer = await client.request("POST", "/artifacts/", json={"data": "whether runs can be recorded"})
    await client.delete_artifact(Artifact.model_validate_json(answer.content).id)
