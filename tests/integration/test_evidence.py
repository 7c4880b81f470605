"""What drills prove is signed, and whoever has the public key can check it with OpenSSL alone."""

from __future__ import annotations

import csv
import json
import re
import subprocess
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import pytest

from blocks.s3.client import ObjectStore
from blocks.sql.server import Server
from flows.backup import backup
from flows.prune import prune
from flows.restore import restore
from flows.restore_drill import restore_drill
from tasks.engine.evidence.files import StoredFiles
from tasks.engine.repository.names import EVIDENCE, certificate_file
from tasks.engine.repository.repository import Repository
from tasks.engine.servers.programs import Client
from tests.conftest import Ended, FlowRun, NewDatabase
from tests.integration.objects import LIBRARY, NAME, asked, manifest_of, take_backup
from tests.markdown import ROOT

FORMAT = ROOT / "docs" / "format.md"


@pytest.fixture
def library(new_database: NewDatabase, storage: ObjectStore, clients: dict[int, Client]) -> Server:
    """A database with a backup from long ago."""
    server = new_database(16, LIBRARY)
    take_backup(storage, server, clients[16])
    return server


@pytest.fixture
def key(command_line: Callable[..., Ended], tmp_path: Path) -> Path:
    """A private key as the command makes it, and its public key beside it, in `evidence.pub`."""
    file = tmp_path / "evidence.pem"
    made = command_line("evidence", "key", "--out", str(file))
    assert made.status == 0, made.err
    assert file.stat().st_mode & 0o777 == 0o600
    file.with_suffix(".pub").write_text(made.out)
    return file


def downloaded(storage: ObjectStore, folder: Path) -> Path:
    """Download the evidence, as an auditor would."""
    folder.mkdir(exist_ok=True)
    files = StoredFiles(storage)
    for name in files.names():
        (folder / name).write_bytes(files.read(name) or b"")
    return folder


def certificates(folder: Path) -> list[dict[str, object]]:
    return [json.loads(path.read_bytes()) for path in sorted(folder.glob("*.json"))]


def test_a_key_is_made_once(command_line: Callable[..., Ended], key: Path, tmp_path: Path) -> None:
    """OpenSSL reads both keys, and an existing key is never overwritten."""
    before = key.read_bytes()
    again = command_line("evidence", "key", "--out", str(key))
    assert (again.status, key.read_bytes()) == (2, before)
    assert "File exists" in again.err
    derived = subprocess.run(["openssl", "pkey", "-in", key, "-pubout"], capture_output=True, text=True, check=True)
    assert derived.stdout == key.with_suffix(".pub").read_text()
    printed = command_line("evidence", "key")
    assert printed.out.startswith("-----BEGIN PRIVATE KEY-----\n")
    assert "PUBLIC KEY" in printed.err
    assert "PRIVATE" not in printed.err


def test_openssl_alone_verifies_what_drills_and_restores_sign(
    library: Server, storage: ObjectStore, flow_run: FlowRun, key: Path, tmp_path: Path, new_database: NewDatabase,
    command_line: Callable[..., Ended],
) -> None:  # fmt: skip
    """The commands in docs/format.md verify each signature and the chain; a changed certificate does not pass."""
    signed = {"EVIDENCE_KEY_FILE": str(key)}
    assert flow_run(restore_drill, library, environ=signed).state == "PROVEN"
    target = new_database(16)
    assert flow_run(restore, to=target, environ=signed, backup="latest").error is None
    folder = downloaded(storage, tmp_path / "evidence")
    first, second = certificates(folder)
    manifest = manifest_of(storage, NAME)
    told = first["backup"]
    assert isinstance(told, dict)
    assert (told["name"], told["object_sha256"], told["database"]) == (NAME, manifest.sha256, manifest.database)
    assert [(t["name"], t["rows"], t["digest"]) for t in told["tables"]] == [
        (t.name, t.rows, t.digest) for t in manifest.tables
    ]
    assert second["restore"] | {"restore_ms": 0} == {"target": target.address, "compared": True, "restore_ms": 0}  # type: ignore[operator]
    assert asked(target, "SELECT count(*) FROM books") == [(300,)]
    (tmp_path / "evidence" / "evidence.pub").write_bytes(key.with_suffix(".pub").read_bytes())
    commands = re.findall(r"<!-- openssl -->\n```sh\n(.*?)```", FORMAT.read_text(), re.DOTALL)
    verified = [
        subprocess.run(["bash", "-euc", text], cwd=folder, capture_output=True, text=True, check=False)
        for text in commands
    ]
    assert [(done.returncode, done.stderr) for done in verified] == [(0, "")] * len(commands)
    assert verified[0].stdout.count("Signature Verified Successfully") == 2
    assert (
        command_line("evidence", "check", "--dir", str(folder), "--public-key", str(folder / "evidence.pub")).status
        == 0
    )
    damaged = next(folder.glob("certificate_000001_*.json"))
    damaged.write_bytes(damaged.read_bytes().replace(b'"PROVEN"', b'"FAILED"'))
    (tampered,) = [
        subprocess.run(["bash", "-euc", text], cwd=folder, capture_output=True, text=True, check=False)
        for text in commands[:1]
    ]
    assert tampered.returncode != 0
    seen = command_line("evidence", "check", "--dir", str(folder), "--public-key", str(folder / "evidence.pub"))
    assert seen.status == 1
    assert "it was changed or renamed" in seen.out
    assert "PGR-EVIDENCE" in seen.err


def test_certificates_outlive_their_backups(
    library: Server, storage: ObjectStore, flow_run: FlowRun, key: Path, command_line: Callable[..., Ended], tmp_path: Path
) -> None:  # fmt: skip
    """A prune removes a backup with its reports, and the chain still holds; the report on the month still knows it."""
    signed = {"EVIDENCE_KEY_FILE": str(key)}
    assert flow_run(restore_drill, library, environ=signed).state == "PROVEN"
    made = flow_run(backup, library, environ={**signed, "BACKUP_RETENTION_DAYS": "36500"})
    assert flow_run(restore_drill, library, environ=signed).result.backup == made.result.name
    Repository(storage).remove(Repository(storage).backups()[0])
    assert command_line("evidence", "check", server=library, **signed).status == 0
    page, table = tmp_path / "report.html", tmp_path / "report.csv"
    month = f"{datetime.now(UTC):%Y-%m}"
    done = command_line(
        "evidence", "report", "--month", month, "--html", str(page), "--csv", str(table), server=library,
        RPO_TARGET="3600", RTO_TARGET="60", **signed,
    )  # fmt: skip
    assert done.status == 0, done.err
    rows = list(csv.DictReader(table.read_text().splitlines()))
    assert [(r["kind"], r["backup"]) for r in rows if r["result"] == "PROVEN"] == [
        ("drill", NAME),
        ("drill", made.result.name),
    ]
    assert made.result.name in page.read_text()
    assert "<script" not in page.read_text()
    assert "RTO_TARGET of 1 min 0 s met" in done.out


@pytest.mark.parametrize("fault", ["no file", "no key", "no right"])
def test_what_cannot_be_signed_costs_no_drill(
    fault: str, library: Server, storage: ObjectStore, flow_run: FlowRun, key: Path, caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    """The verdict and its report are there as always, with a warning that says why nothing was signed."""
    file = key.with_name("missing.pem") if fault == "no file" else key
    if fault == "no key":
        key.write_text("not a key")
    if fault == "no right":
        put_new = ObjectStore.put_new

        def refused(store: ObjectStore, key: str, data: bytes, content_type: str = "application/json") -> bool:
            if EVIDENCE in key:
                raise RuntimeError(data.decode("latin-1"))
            return put_new(store, key, data, content_type)

        monkeypatch.setattr(ObjectStore, "put_new", refused)
    assert flow_run(restore_drill, library, environ={"EVIDENCE_KEY_FILE": str(file)}).state == "PROVEN"
    assert [b.verdict for b in Repository(storage).looked_into(Repository(storage).backups())] == ["PROVEN"]
    warned = [record.getMessage() for record in caplog.records if record.levelname == "WARNING"]
    assert any("No certificate was signed" in text for text in warned)
    assert StoredFiles(storage).names() == []


def test_planted_files_and_objects_mislead_no_certificate(
    library: Server, storage: ObjectStore, flow_run: FlowRun, key: Path, caplog: pytest.LogCaptureFixture,
    command_line: Callable[..., Ended],
) -> None:  # fmt: skip
    """An unsigned file is passed over with a warning, and what is no finished backup is not listed as one."""
    planted = certificate_file(999_999_999_999, "0" * 64)
    StoredFiles(storage).write(planted, b"{}", "application/json")
    storage.put(storage.key("backup_20200101_000000.sql.gz"), b"")
    assert flow_run(restore_drill, library, environ={"EVIDENCE_KEY_FILE": str(key)}).state == "PROVEN"
    (made,) = [json.loads(StoredFiles(storage).read(n) or b"") for n in StoredFiles(storage).names() if "000001" in n and n.endswith(".json")]  # fmt: skip
    assert ([b["name"] for b in made["backups"]], made["folder"]) == ([NAME], storage.address)
    warned = [record.getMessage() for record in caplog.records if record.levelname == "WARNING"]
    assert [planted in text for text in warned if "no certificate of this chain" in text] == [True]
    seen = command_line("evidence", "check", server=library, EVIDENCE_KEY_FILE=str(key))
    assert (seen.status, [planted in line for line in seen.out.splitlines()]) == (1, [True])
    wrong = command_line("evidence", "check", "--expect", "abc", server=library, EVIDENCE_KEY_FILE=str(key))
    assert (wrong.status, "no SHA-256" in wrong.err) == (2, True)


def test_evidence_is_no_backup_and_is_never_pruned(
    library: Server, storage: ObjectStore, flow_run: FlowRun, key: Path
) -> None:
    """Its files appear in no list, and no retention removes them."""
    assert flow_run(restore_drill, library, environ={"EVIDENCE_KEY_FILE": str(key)}).state == "PROVEN"
    before = StoredFiles(storage).names()
    assert [b.name for b in Repository(storage).backups()] == [NAME]
    assert flow_run(prune, library, environ={"BACKUP_RETENTION_DAYS": "1"}, even_if_stale=True).error is None
    assert len(before) == 2
    assert StoredFiles(storage).names() == before
