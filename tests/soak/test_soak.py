"""A process that backs up and drills for weeks doesn't grow, and neither does what it leaves behind."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from statistics import linear_regression
from typing import Any

import pytest

from blocks.s3.client import ObjectStore
from blocks.sql.server import Server
from flows.demo.services import Storage
from tasks.clock import utc_now
from tasks.engine.repository.repository import Repository
from tests.conftest import NewDatabase, command_environment, databases_of
from tests.integration.conftest import home
from tests.integration.objects import LARGE_OBJECTS, LIBRARY
from tests.soak.life import BACKUPS_A_ROUND

__all__ = ["home"]

DRILLS = 100
BACKUPS = DRILLS * BACKUPS_A_ROUND
HERE = Path(__file__).parents[2]
KIB = 1 << 10


@pytest.fixture(scope="module")
def life() -> Callable[..., list[dict[str, Any]]]:
    """A function that runs a life in its own process, and returns its record."""

    def lived(rounds: int, environ: dict[str, str], folder: Path) -> list[dict[str, Any]]:
        record, log = folder / "life.jsonl", folder / "life.log"
        command = [sys.executable, "-m", "tests.soak.life", str(rounds), str(record)]
        with log.open("wb") as console:
            done = subprocess.run(command, env=environ, cwd=HERE, stdout=console, stderr=subprocess.STDOUT, check=False)
        assert done.returncode == 0, log.read_text()[-4000:]
        return [json.loads(line) for line in record.read_text().splitlines()]

    return lived


def growth(values: list[int]) -> float:
    """Return a value's growth per flow run, as the slope of the best-fitting line."""
    runs = BACKUPS_A_ROUND + 1
    return linear_regression([n * runs for n in range(len(values))], values).slope


@pytest.mark.long
@pytest.mark.timeout(2 * 3600)
def test_five_hundred_backups_and_a_hundred_drills(
    life: Callable[..., list[dict[str, Any]]],
    new_database: NewDatabase,
    storage_server: Storage,
    storage: ObjectStore,
    prefect_api: str,
    tmp_path: Path,
    home: Path,
) -> None:
    """In one process, memory, files and threads stay flat, and the bucket and the server hold what they should."""
    server = new_database(16, LIBRARY + LARGE_OBJECTS)
    there = databases_of(server)
    environ = command_environment(storage_server, storage, prefect_api, tmp_path)
    environ |= {"DATABASE_URL": server.url.get_secret_value(), "TMPDIR": str(home)}
    *rounds, last = life(DRILLS, environ, tmp_path)
    settled = rounds[len(rounds) // 3 :]

    assert {r["verdict"] for r in rounds} == {"PROVEN"}
    assert_the_catalog_is_right([name for r in rounds for name in r["backups"]], storage)
    assert_nothing_is_left(server, storage, there)
    assert list(home.iterdir()) == []

    assert [r["children"] for r in rounds if r["children"]] == []
    assert max(r["files"] for r in settled) - min(r["files"] for r in settled) <= 10
    assert max(len(r["threads"]) for r in settled) - min(len(r["threads"]) for r in settled) <= 5, settled[-1]
    assert growth([r["uss"] for r in settled]) < 10 * KIB, (last, [r["uss"] for r in settled])


def assert_the_catalog_is_right(names: list[str], storage: ObjectStore) -> None:
    """Every backup that was made is listed with its own manifest, and the expired ones are gone."""
    assert len(names) == len(set(names)) == BACKUPS
    backups = Repository(storage).backups()
    assert [b.name for b in backups] == names
    for backup in backups:
        manifest = Repository(storage).manifest(backup)
        assert manifest
        assert (manifest.rows, manifest.object_bytes) == (322, backup.object_bytes)
    assert sum(b.has_report for b in backups) == DRILLS
    assert len(list(storage.list_objects())) == 3 * BACKUPS + DRILLS


def assert_nothing_is_left(server: Server, storage: ObjectStore, there: set[str]) -> None:
    """No scratch database and no incomplete upload is left."""
    assert databases_of(server) == there
    assert list(storage.list_uploads(timedelta(0), utc_now())) == []
