"""A backup belongs to its owner: programs that know nothing of us can restore it."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from blocks.sql.server import Server
from flows.backup import backup
from flows.demo.services import Storage
from tasks.engine.servers.programs import Client
from tests.conftest import FlowRun, NewDatabase
from tests.integration.objects import asked, contents

_AWS = '"$BIN/aws" --endpoint-url "$ENDPOINT" s3 cp "s3://$KEY" -'
_RCLONE = '"$BIN/rclone" cat "x:$KEY"'


@pytest.fixture
def environ(storage_server: Storage, tmp_path: Path) -> dict[str, str]:
    """The environment that the other programs need to find the storage."""
    return {
        "PATH": os.environ["PATH"],
        "HOME": str(tmp_path),
        "BIN": str(Path(sys.prefix) / "bin"),
        "ENDPOINT": storage_server.endpoint,
        "AWS_ACCESS_KEY_ID": storage_server.key_id,
        "AWS_SECRET_ACCESS_KEY": storage_server.secret,
        "AWS_DEFAULT_REGION": "us-east-1",
        "RCLONE_CONFIG_X_TYPE": "s3",
        "RCLONE_CONFIG_X_PROVIDER": "Other",
        "RCLONE_CONFIG_X_ENDPOINT": storage_server.endpoint,
        "RCLONE_CONFIG_X_ACCESS_KEY_ID": storage_server.key_id,
        "RCLONE_CONFIG_X_SECRET_ACCESS_KEY": storage_server.secret,
    }


@pytest.mark.parametrize(("reader", "level"), [(_AWS, "1"), (_RCLONE, "6")], ids=["aws", "rclone"])
def test_other_programs_restore_a_backup(
    reader: str,
    level: str,
    hard_database: Callable[[int], Server],
    new_database: NewDatabase,
    clients: dict[int, Client],
    environ: dict[str, str],
    flow_run: FlowRun,
) -> None:
    """`aws s3 cp … - | gunzip | psql` and `rclone cat … | gunzip | psql` restore everything, even owners and grants."""
    source, target = hard_database(17), new_database(17)
    made = flow_run(backup, source, environ={"COMPRESSION_LEVEL": level})
    assert made.error is None
    wanted = {"KEY": f"backups/{made.result.key}", "PSQL": clients[17].program("psql"), **target.child_environment()}
    line = f'set -o pipefail; {reader} | gunzip | "$PSQL" -X -q -v ON_ERROR_STOP=1 >/dev/null'
    done = subprocess.run(["bash", "-c", line], env=environ | wanted, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "ERROR" not in done.stderr
    assert contents(target, clients[17], like=source) == contents(source, clients[17])
    owner = (
        "SELECT pg_get_userbyid(relowner), relacl::text FROM pg_class"
        " WHERE relname IN ('statuses', 'looks_like_syntax') ORDER BY relname"
    )
    assert asked(target, owner) == asked(source, owner)
