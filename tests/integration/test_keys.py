"""Keys are made, checked and changed by commands, on a real storage, and what they say to do works."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from blocks.s3.client import ObjectStore
from blocks.sql.server import Server
from flows.backup import backup as backup_flow
from flows.key_check import key_check
from flows.restore_drill import restore_drill
from tasks.engine.age.identities import new_identity
from tasks.engine.repository.manifest import Verdict
from tests.conftest import Ended, FlowRun, NewDatabase
from tests.integration.objects import LIBRARY

Run = Callable[..., Ended]
(OLD_LINE, OLD), (NEW_LINE, NEW), (_, OTHER) = new_identity(), new_identity(), new_identity()
BEFORE = {"BACKUP_AGE_RECIPIENTS": OLD.recipient.text}
AFTER = {"BACKUP_AGE_RECIPIENTS": f"{NEW.recipient.text},{OTHER.recipient.text}"}


@pytest.fixture
def library(new_database: NewDatabase) -> Server:
    return new_database(16, LIBRARY)


def test_a_new_key_is_a_secret(command_line: Run, tmp_path: Path) -> None:
    """It is in a file that only its owner reads, and never replaces one; only the public key is printed."""
    path = tmp_path / "key.txt"
    made = command_line("key", "new", "--out", str(path))
    assert made.status == 0, made.err
    secret = path.read_text().splitlines()[-1]
    assert secret.startswith("AGE-SECRET-KEY-1")
    assert secret not in made.out + made.err
    assert path.stat().st_mode & 0o777 == 0o600
    there = subprocess.run(["age-keygen", "-y", path], capture_output=True, text=True, check=True, timeout=60)
    assert there.stdout == made.out
    again = command_line("key", "new", "--out", str(path))
    assert (again.status, path.read_text().splitlines()[-1]) == (2, secret)


def test_a_change_of_keys(
    library: Server, flow_run: FlowRun, command_line: Run, storage: ObjectStore, tmp_path: Path
) -> None:
    """From one key to another: what is kept and what is made opens with the new one, is PROVEN, and age opens it."""
    made = flow_run(backup_flow, library, environ=BEFORE).result
    checked = flow_run(key_check, environ={**BEFORE, "AGE_IDENTITY": OLD_LINE}).result
    assert checked.sentence == f"1 of 1 backup can be opened with key {OLD.fingerprint}"
    assert flow_run(key_check, environ={**AFTER, "AGE_IDENTITY": NEW_LINE}).result.which == f"{made.name} (other keys)"
    shown = command_line("key", "rotate", **AFTER)
    assert f"1 kept backup only with {OLD.fingerprint}" in shown.out
    assert "retention has removed them by" in shown.out
    both = {**AFTER, "AGE_IDENTITY": f"{OLD_LINE}\n{NEW_LINE}"}
    done = command_line("key", "rekey", **both)
    assert (done.status, done.out.splitlines()[-1]) == (0, "1 got the new keys, 0 had them, 0 keep others"), done.err
    assert "0 would get the new keys, 1 had them" in command_line("key", "rekey", "--dry-run", **both).out
    alone = {**AFTER, "AGE_IDENTITY": NEW_LINE}
    found = json.loads(command_line("key", "check", "--json", **alone).out)
    assert (found["good"], found["keys"]) == (True, [NEW.fingerprint])
    assert flow_run(restore_drill, library, environ=alone).result.verdict is Verdict.PROVEN
    (tmp_path / "key.txt").write_text(NEW_LINE + "\n")
    plain = subprocess.run(
        ["age", "-d", "-i", tmp_path / "key.txt"], input=storage.get(made.key), capture_output=True, check=True, timeout=60
    )  # fmt: skip
    assert plain.stdout.startswith(b"\x1f\x8b")
    lost = command_line("key", "check", **AFTER, AGE_IDENTITY=OLD_LINE)
    assert (lost.status, "0 of 1 backup can be opened" in lost.out) == (1, True)


def test_what_to_set(command_line: Run) -> None:
    """A changed list of recipients is printed to be copied; the last one can't be removed."""
    shown = command_line("key", "rotate", "--add", NEW.recipient.text, "--remove", OLD.fingerprint, **BEFORE)
    assert f"BACKUP_AGE_RECIPIENTS={NEW.recipient.text}" in shown.out.splitlines()
    assert "one lost key" in shown.out
    assert command_line("key", "rotate", "--remove", OLD.recipient.text, **BEFORE).status == 2


def test_the_sheet(command_line: Run, storage: ObjectStore, tmp_path: Path) -> None:
    """It names the keys, the place and the commands; the private key is on it only if asked for."""
    both = {**AFTER, "AGE_IDENTITY": NEW_LINE}
    text = command_line("key", "paper", **both).out
    for word in (NEW.fingerprint, OTHER.recipient.text, storage.address, "aws ", "age --decrypt", "createdb", "psql"):
        assert word in text
    assert NEW_LINE not in text
    page = tmp_path / "sheet.html"
    assert command_line("key", "paper", "--html", str(page), "--with-private-key", **both).status == 0
    assert NEW_LINE in page.read_text()
    assert page.stat().st_mode & 0o777 == 0o600
