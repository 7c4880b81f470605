"""A backup is restored by programs that know nothing of us."""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from blocks.postgres import PostgresServer
from blocks.storage import BackupStorage
from flows.demo.services import Storage
from tasks.engine.clients import Client
from tasks.engine.dump import running_dump
from tasks.engine.dump_stream import DumpScanner, DumpSummary
from tasks.engine.pipeline import scan_dump
from tasks.engine.round_trip import contents_of
from tests.conftest import Ended, NewDatabase

PROGRAMS = Path(sys.prefix) / "bin"


def readers(storage: Storage, key: str) -> dict[str, str]:
    """The command of each independent reader that writes an object to standard output."""
    aws = f"{PROGRAMS}/aws --endpoint-url {storage.endpoint} s3 cp s3://{storage.bucket}/{key} -"
    return {"aws": aws, "rclone": f"{PROGRAMS}/rclone cat store:{storage.bucket}/{key}"}


@pytest.mark.parametrize("reader", ["aws", "rclone"])
def test_gunzip_and_psql_restore_what_another_client_fetches(
    reader: str, hard_database: Callable[[int], PostgresServer], new_database: NewDatabase, clients: dict[int, Client],
    command_line: Callable[..., Ended], storage_server: Storage, storage: BackupStorage,
) -> None:  # fmt: skip
    """`aws s3 cp … - | gunzip | psql` and `rclone cat … | gunzip | psql` bring every row back."""
    source, target = hard_database(17), new_database(17)
    assert command_line("backup", server=source).status == 0
    key = next(found.key for found in storage.list_objects() if found.key.endswith(".sql.gz"))
    fetch = readers(storage_server, key)[reader]
    client = clients[17]
    pipe = f"set -o pipefail; {fetch} | gunzip | {shlex.quote(client.program('psql'))} -X -q -v ON_ERROR_STOP=1"
    environ = {**client_environment(storage_server), **target.child_environment(), "PATH": os.environ["PATH"]}
    done = subprocess.run(["bash", "-c", pipe], env=environ, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    before = summary_of(source, client)
    after = summary_of(target, client, before)
    assert contents_of(after) == contents_of(before)
    assert after.schema_digest == before.schema_digest


def client_environment(storage: Storage) -> dict[str, str]:
    """The keys for both readers, by environment."""
    return {
        "AWS_ACCESS_KEY_ID": storage.key_id, "AWS_SECRET_ACCESS_KEY": storage.secret, "AWS_DEFAULT_REGION": "us-east-1",
        "RCLONE_CONFIG_STORE_TYPE": "s3", "RCLONE_CONFIG_STORE_PROVIDER": "Other",
        "RCLONE_CONFIG_STORE_ENDPOINT": storage.endpoint, "RCLONE_CONFIG_STORE_ACCESS_KEY_ID": storage.key_id,
        "RCLONE_CONFIG_STORE_SECRET_ACCESS_KEY": storage.secret, "RCLONE_CONFIG": "/dev/null",
    }  # fmt: skip


def summary_of(server: PostgresServer, client: Client, like: DumpSummary | None = None) -> DumpSummary:
    """Dump a database and scan it, rows in the column order of another dump."""
    columns = {t.name: t.columns for t in like.tables.values()} if like else None
    with running_dump(server, client) as dump:
        return scan_dump(dump, DumpScanner(columns))
