"""Start S3 servers other than the demo's, so that no promise depends on one implementation."""

from __future__ import annotations

import secrets
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from botocore.exceptions import BotoCoreError, ClientError

from blocks.config.environment import child_environment
from blocks.errors import PgRoundtripError
from flows.demo.services import Storage, free_ports
from tasks.engine.process import Child

_BIN = Path(sys.prefix) / "bin"


@contextmanager
def running_rclone(folder: Path) -> Iterator[Storage]:
    """Run `rclone serve s3` over a folder: it stores keys as file names and assembles parts in its own way."""
    (folder / "backups").mkdir()
    key_id, secret = secrets.token_hex(8), secrets.token_hex(16)
    (port,) = free_ports(1)
    command = [str(_BIN / "rclone"), "serve", "s3", "--addr", f"127.0.0.1:{port}", str(folder)]
    given = {"RCLONE_AUTH_KEY": f'"{key_id},{secret}"', "RCLONE_CONFIG": str(folder / "none.conf")}
    with _running(command, given, folder, Storage(f"http://127.0.0.1:{port}", "backups", key_id, secret)) as storage:
        yield storage


@contextmanager
def running_moto(folder: Path) -> Iterator[Storage]:
    """Run Moto's server, an independent implementation of Amazon's documentation."""
    (port,) = free_ports(1)
    storage = Storage(f"http://127.0.0.1:{port}", "backups", "testing", "testing")
    with _running([str(_BIN / "moto_server"), "-H", "127.0.0.1", "-p", str(port)], {}, folder, storage, make=True):
        yield storage


@contextmanager
def _running(
    command: list[str], given: dict[str, str], folder: Path, storage: Storage, *, make: bool = False
) -> Iterator[Storage]:
    with Child(command, child_environment(given), cwd=folder) as child:
        deadline = time.monotonic() + 60
        while not _answers(storage, make=make):
            assert child.running, f"{child.name} exited"
            assert time.monotonic() < deadline, f"{child.name} does not answer"
            time.sleep(0.2)
        yield storage


def _answers(storage: Storage, *, make: bool) -> bool:
    store = storage.store("")
    try:
        if make:
            store.client.create_bucket(Bucket=storage.bucket)
        next(store.list_objects(), None)
    except (PgRoundtripError, BotoCoreError, ClientError):
        return False
    return True
