"""Prove that the history takes records: on a full disk or in a locked database, reading still works."""

from __future__ import annotations

import asyncio
import contextlib
import os
from functools import partial
from pathlib import Path
from uuid import UUID

import httpx
from prefect.client.orchestration import PrefectClient
from prefect.client.schemas.filters import ArtifactFilter, ArtifactFilterType
from prefect.client.schemas.objects import Artifact
from prefect.exceptions import ObjectNotFound

from blocks.saved import translated
from flows.service.disk import Disk
from flows.service.history import ROOM, TROUBLE, said_of, why_unusable

_ANSWER_S = 20
_GONE = "PREFECT_HOME is no longer the folder that it was at the start"
_FROZEN = "the disk of PREFECT_HOME does not answer"
_PROBE = {"type": "pg-roundtrip-probe", "data": "whether runs can be recorded"}
# What a server, or what stands before it, answers to somebody who may only do other things.
_NOT_FOR_US = {401, 403, 404, 405}


class Proof:
    """What shows whether Prefect's server can write; `home` is the folder of our own server, None for one elsewhere."""

    def __init__(self, home: Path | None = None) -> None:
        self._home, self._known, self._disk = home, -1, Disk()
        if home:
            # Kept open, because some file systems renumber a folder that nobody has open.
            with contextlib.suppress(OSError):
                self._known = os.open(home, os.O_RDONLY | os.O_DIRECTORY)

    async def suspects(self) -> bool:
        """Whether the folder looks full, read-only or replaced; costs nothing, so that each look can ask."""
        if self._home is None:
            return False
        try:
            return await self._disk.ask(partial(self._looks_unusable, self._home), _ANSWER_S)
        except TROUBLE:
            return True

    async def refusal(self, client: PrefectClient) -> str | None:
        """Write as a run would, and return why that fails; empty if it works, None if the server doesn't let us try."""
        if self._home and (why := await self._folder_refusal(self._home)):
            return why
        try:
            # Prefect's client tries again for minutes.
            async with asyncio.timeout(_ANSWER_S):
                with translated():
                    return "" if await _written(client) else None
        except TROUBLE as error:
            return said_of(error)

    async def _folder_refusal(self, home: Path) -> str:
        try:
            return await self._disk.ask(partial(self._why_folder_refuses, home), _ANSWER_S)
        except TimeoutError:
            return _FROZEN
        except TROUBLE as error:
            return said_of(error)

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


async def _written(client: PrefectClient) -> bool:
    """Have the server write something that nobody sees, and remove it; returns False if we may not."""
    try:
        # First, so that a server on which nothing can be removed keeps one at most.
        await _remove_late(client)
        # Unlike the client's own method, without an event.
        answer = await client.request("POST", "/artifacts/", json=_PROBE)
        await _remove(client, Artifact.model_validate_json(answer.content).id)
    except httpx.HTTPStatusError as error:
        if error.response.status_code in _NOT_FOR_US:
            return False
        raise
    return True


async def _remove_late(client: PrefectClient) -> None:
    """Remove what a slow server wrote after nobody waited for it any more."""
    ours = ArtifactFilter(type=ArtifactFilterType(any_=[_PROBE["type"]]))
    for artifact in await client.read_artifacts(artifact_filter=ours):
        await _remove(client, artifact.id)


async def _remove(client: PrefectClient, artifact: UUID) -> None:
    with contextlib.suppress(ObjectNotFound):  # another service on this server was faster
        await client.delete_artifact(artifact)
