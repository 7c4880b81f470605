"""Define the contenders: the shell pipelines people use today, and ours."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from blocks.config.environment import child_environment
from tests.bench.stage import Stage

FLOOR = "pg_dump > /dev/null"
AWS = "pg_dump | gzip -6 | aws s3 cp -"
RCLONE = "pg_dump | gzip -6 | rclone rcat"
USUAL_RESTORE = "aws s3 cp - | gunzip | psql"
OUR_RESTORE = "ours: restore"
OUR_DRILL = "ours: drill in a sandbox"
OUR_DRILL_THERE = "ours: drill on the same server"
OUR_ENCRYPTED = "ours: backup, level 6, encrypted"
OUR_COPIED = "ours: backup, level 6, to two servers"
OUR_COPIED_TO_DISK = "ours: backup, level 6, to a server and a folder"
_RECIPIENTS = (
    "age19ljhmg68e43yx9fgm2k9lwefquc0la5y4lzvlshdjzv47kxt8d6qr9vf4p,"
    "age15nsf9y4k28p83wth93tf7hafhvfajp45d2mge80ems45gz0c5gys3me64l"
)
LEVELS = (1, 6, 9)
_DEFAULT_LEVEL = 6

# Everything specific to a run comes from the environment, so that no key ever appears on a command line.
_SCRIPTS = {
    FLOOR: '"$PG_DUMP" > /dev/null',
    AWS: '"$PG_DUMP" | gzip -6 | "$AWS" s3 cp --only-show-errors - "s3://$S3_BUCKET/$FOLDER/dump.sql.gz"',
    RCLONE: '"$PG_DUMP" | gzip -6 | "$RCLONE" rcat "bench:$S3_BUCKET/$FOLDER/dump.sql.gz"',
    USUAL_RESTORE: '"$AWS" s3 cp --only-show-errors "s3://$S3_BUCKET/$FOLDER/dump.sql.gz" - | gunzip'
    ' | "$PSQL" --no-psqlrc --quiet --set=ON_ERROR_STOP=1 > /dev/null',
}


@dataclass(frozen=True)
class Contender:
    """One thing to measure."""

    name: str
    argv: list[str]
    environ: Mapping[str, str] = field(repr=False)
    reference: str  # the contender whose time this one is compared with
    stores_in: str = ""  # the bucket folder its object goes to
    restores: bool = False  # whether it fills the restore database
    copies: bool = False  # whether its object is in a second place, too
    ours: bool = False


def our_backup(level: int) -> str:
    """Return the name of our backup contender at a COMPRESSION_LEVEL."""
    return f"ours: backup, level {level}"


def contenders(stage: Stage) -> list[Contender]:
    """Return every contender in run order: a restore reads what the backup before it stored."""
    stored = f"level-{_DEFAULT_LEVEL}"
    target = {"RESTORE_DATABASE_URL": stage.restored.url.get_secret_value()}
    return [
        _pipeline(stage, FLOOR),
        _pipeline(stage, AWS, stores_in="aws"),
        _pipeline(stage, RCLONE, stores_in="rclone"),
        *(
            Contender(
                our_backup(level), _runner("backup"),
                {**_our_environment(stage, f"level-{level}"), "COMPRESSION_LEVEL": str(level)},
                AWS, stores_in=f"level-{level}", ours=True,
            )
            for level in LEVELS
        ),
        Contender(
            OUR_ENCRYPTED, _runner("backup"), {**_our_environment(stage, "encrypted"), "BACKUP_AGE_RECIPIENTS": _RECIPIENTS},
            AWS, stores_in="encrypted", ours=True,
        ),
        *(
            Contender(
                name, _runner("backup"), {**_our_environment(stage, folder), "COPIES_REQUIRED": "2", **place},
                AWS, stores_in=folder, ours=True, copies=True,
            )
            for name, folder, place in (
                (OUR_COPIED, "copied", _second_server(stage)), (OUR_COPIED_TO_DISK, "to-disk", {"COPY_PATH": str(stage.disk)}),
            )
        ),
        Contender(
            USUAL_RESTORE, _shell(USUAL_RESTORE),
            {**_shell_environment(stage, "aws"), **stage.restored.child_environment()},
            USUAL_RESTORE, restores=True,
        ),
        Contender(OUR_RESTORE, _runner("restore"), {**_our_environment(stage, stored), **target},
                  USUAL_RESTORE, restores=True, ours=True),
        *(
            Contender(name, _runner("drill"), {**_our_environment(stage, stored), "VERIFY_TARGET": place},
                      USUAL_RESTORE, ours=True)
            for name, place in ((OUR_DRILL, "sandbox"), (OUR_DRILL_THERE, "database"))
        ),
    ]  # fmt: skip


def _pipeline(stage: Stage, name: str, stores_in: str = "") -> Contender:
    return Contender(name, _shell(name), _shell_environment(stage, stores_in), AWS, stores_in=stores_in)


def _shell(name: str) -> list[str]:
    return ["bash", "-c", f"set -euo pipefail; {_SCRIPTS[name]}"]


def _runner(step: str) -> list[str]:
    return [sys.executable, "-m", "tests.bench.engine", step]


def _shell_environment(stage: Stage, folder: str) -> dict[str, str]:
    """Return the environment of a pipeline's programs: which binaries, what they connect to, and the storage keys."""
    storage, programs = stage.storage, Path(sys.prefix) / "bin"
    return child_environment({
        **stage.database.child_environment(),
        "HOME": str(stage.home),
        "PG_DUMP": stage.client.program("pg_dump"),
        "PSQL": stage.client.program("psql"),
        "AWS": str(programs / "aws"),
        "RCLONE": str(programs / "rclone"),
        "S3_BUCKET": storage.bucket,
        "FOLDER": folder,
        "AWS_ACCESS_KEY_ID": storage.key_id,
        "AWS_SECRET_ACCESS_KEY": storage.secret,
        "AWS_DEFAULT_REGION": "us-east-1",
        "AWS_ENDPOINT_URL": storage.endpoint,
        "RCLONE_CONFIG": str(stage.home / "no-rclone.conf"),
        "RCLONE_CONFIG_BENCH_TYPE": "s3",
        "RCLONE_CONFIG_BENCH_PROVIDER": "SeaweedFS",
        "RCLONE_CONFIG_BENCH_ENDPOINT": storage.endpoint,
        "RCLONE_CONFIG_BENCH_ACCESS_KEY_ID": storage.key_id,
        "RCLONE_CONFIG_BENCH_SECRET_ACCESS_KEY": storage.secret,
    })  # fmt: skip


def _second_server(stage: Stage) -> dict[str, str]:
    return {f"COPY_{name}": value for name, value in stage.second.environment().items() if name.startswith("S3_")}


def _our_environment(stage: Stage, folder: str) -> dict[str, str]:
    return child_environment({
        **stage.storage.environment(),
        "DATABASE_URL": stage.database.url.get_secret_value(),
        "BACKUP_PREFIX": folder,
        "HOME": str(stage.home),
        "PREFECT_HOME": str(stage.home / "prefect"),
        "PYTHONPATH": str(Path(__file__).parents[2]),
    })  # fmt: skip
