"""Hooks run around real backups, drills, prunes and restores, plainly and recorded, and cost none of them."""

from __future__ import annotations

import json
import os
import re
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from blocks.s3.client import ObjectStore
from blocks.sql.server import Server
from flows.backup import backup
from flows.demo.services import Storage
from tests.conftest import Ended, FlowRun, NewDatabase, StartedCommand
from tests.integration.children import Children
from tests.integration.objects import LIBRARY, until
from tests.receivers import receiving

HOOKS = ("PRE_BACKUP_HOOK", "POST_BACKUP_HOOK", "ON_FAILURE_HOOK", "POST_DRILL_HOOK")
Run = Callable[..., Ended]


@pytest.fixture
def library(new_database: NewDatabase) -> Server:
    """A small database."""
    return new_database(16, LIBRARY)


class Noted:
    """A program that notes its environment, in a line of a file for each time that it runs, and ends with a given code."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def hook(self, code: int = 0, then: str = "") -> str:
        """Return a command for a hook."""
        path = self._folder / f"noted {len(list(self._folder.glob('noted *')))}.sh"
        # What is noted is the environment, and the report if there is one.
        script = f"""#!/bin/sh
{{ env -0 | base64 -w0; printf ' '; base64 -w0 "${{PG_ROUNDTRIP_REPORT:-/dev/null}}"; echo; }} >> '{self._folder}/lines'
{then}
exit {code}
"""
        path.write_text(script)
        path.chmod(0o755)
        return f"'{path}' argument"

    def runs(self) -> list[dict[str, str]]:
        """Return the environment of each run; `report` is the document."""
        import base64  # noqa: PLC0415

        lines = self._folder / "lines"
        found = []
        for line in lines.read_text().splitlines() if lines.exists() else []:
            environ, report = (base64.b64decode(part).decode() for part in line.split(" "))
            found.append({**dict(pair.split("=", 1) for pair in environ.split("\0") if pair), "report": report})
        return found

    def events(self) -> list[tuple[str, str]]:
        """Return the event and the status of each run."""
        return [(run["PG_ROUNDTRIP_EVENT"], run.get("PG_ROUNDTRIP_STATUS", "")) for run in self.runs()]


@pytest.fixture
def noted(tmp_path: Path) -> Noted:
    """Hooks that note what they are told."""
    (tmp_path / "hooks").mkdir()
    return Noted(tmp_path / "hooks")


@pytest.fixture(params=["plain", "recorded"])
def either_way(request: pytest.FixtureRequest, command_line: Run) -> Run:
    """A function that runs `pg-roundtrip` plainly, and one that has its runs recorded."""
    if request.param == "plain":
        return command_line
    api = str(request.getfixturevalue("prefect_api"))
    return lambda *arguments, **environ: command_line(*arguments, **{"PREFECT_API_URL": api, **environ})


def ours(run: dict[str, str]) -> dict[str, str]:
    """Return the variables that we set, without the prefix and what differs each time."""
    return {n.removeprefix("PG_ROUNDTRIP_"): v for n, v in run.items() if n.startswith("PG_ROUNDTRIP_")}


def test_around_a_backup(
    either_way: Run, library: Server, noted: Noted, storage: ObjectStore, storage_server: Storage
) -> None:
    """PRE_BACKUP_HOOK before and POST_BACKUP_HOOK after, each once, and told where what is, but no secret."""
    done = either_way(
        "backup", "--json", server=library, HOOK_TOKEN="for the hook", MY_OWN="mine", COPY_OF_URL=library.url.get_secret_value(),
        **dict.fromkeys(HOOKS, noted.hook()),
    )  # fmt: skip
    assert done.status == 0, done.err
    made = json.loads(done.out)
    assert noted.events() == [("pre-backup", ""), ("post-backup", "succeeded")]
    before, after = noted.runs()
    parameters = library.parameters()
    place = {
        "VERB": "backup", "PLAN": "default", "ENDPOINT": storage_server.endpoint, "BUCKET": storage.bucket, "FOLDER": storage.folder,
        "HOST": parameters["host"], "PORT": parameters["port"], "DATABASE": library.database,
    }  # fmt: skip
    assert ours(before) == {"EVENT": "pre-backup", **place}
    told = ours(after)
    assert {name: told[name] for name in ("BACKUP", "KEY")} == {"BACKUP": made["name"], "KEY": made["key"]}
    assert told["MESSAGE"].startswith(f"{made['name']}: 320 rows of 2 tables")
    assert json.loads(after["report"])["sha256"] == made["sha256"]
    assert not Path(told["REPORT"]).parent.exists()
    for run in (before, after):
        assert (run["HOOK_TOKEN"], run["MY_OWN"], run["HOME"]) == ("for the hook", "mine", os.path.dirname(before["HOME"] + "/"))
        assert {"COPY_OF_URL", "DATABASE_URL", "S3_SECRET_ACCESS_KEY", "S3_ENDPOINT", "PREFECT_API_URL"} & run.keys() == set()
        text = "\n".join(f"{name}={value}" for name, value in run.items())
        assert storage_server.secret not in text
        assert parameters["password"] not in text
