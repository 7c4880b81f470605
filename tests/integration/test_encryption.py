"""Encrypted backups: only the keys' owners read them, everything else works without a key, and damage is refused."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from blocks.config.encryption import Encryption
from blocks.config.environment import child_environment
from blocks.errors import KeyMissing
from blocks.s3.client import ObjectStore
from blocks.sql.server import Server
from flows.backup import BackupResult
from flows.backup import backup as backup_flow
from flows.prune import prune
from flows.restore import restore as restore_flow
from flows.restore_drill import restore_drill
from tasks.clock import utc_now
from tasks.engine.age.identities import new_identity
from tasks.engine.repository.keys import Keys
from tasks.engine.repository.manifest import Verdict
from tasks.engine.repository.repository import Repository
from tasks.engine.servers.programs import Client
from tasks.engine.servers.sandbox import running_server
from tasks.status.listing import list_catalog
from tests.conftest import Ended, FlowRun, NewDatabase
from tests.integration.objects import LIBRARY, asked, new_role, told
from tests.plans import plan_of

SIGNING_KEY = "MC4CAQAwBQYDK2VwBCIEIAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"
# Names of what is in the database, none of which may be read without a key.
SECRETS = (b"authors", b"books", b"titles", b"numbers", b"col_of_ours")


@dataclass(frozen=True)
class Pair:
    """A private key, as in AGE_IDENTITY, and its public one."""

    secret: str
    public: str
    fingerprint: str


def pair() -> Pair:
    secret, identity = new_identity()
    return Pair(secret, identity.recipient.text, identity.fingerprint)


OWN, SECOND, OTHER = pair(), pair(), pair()
BOTH = {"BACKUP_AGE_RECIPIENTS": f"{OWN.public}, {SECOND.public}"}
OPENED = {"AGE_IDENTITY": OWN.secret}


@pytest.fixture
def library(new_database: NewDatabase) -> Server:
    return new_database(16, f"{LIBRARY} ALTER TABLE books ADD COLUMN col_of_ours int;")


@pytest.fixture
def made(library: Server, flow_run: FlowRun) -> BackupResult:
    ran = flow_run(backup_flow, library, environ=BOTH)
    assert isinstance(ran.result, BackupResult), ran.error
    return ran.result


def in_the_open(storage: ObjectStore) -> bytes:
    """Everything that is stored, without what is encrypted."""
    found = []
    for each in storage.list_objects():
        data = storage.get(each.key)
        if each.key.endswith(".json"):
            document = json.loads(data)
            document.pop("sealed", None)
            data = json.dumps(document).encode()
        found.append(each.key.encode() + data)
    return b"\n".join(found)


def restored(server: Server) -> list[tuple[object, ...]]:
    return asked(server, "SELECT (SELECT count(*) FROM authors), (SELECT count(*) FROM books)")


def test_it_comes_back_and_nothing_leaks(
    library: Server, made: BackupResult, storage: ObjectStore, flow_run: FlowRun, new_database: NewDatabase
) -> None:
    """An encrypted backup is PROVEN and restores, and no document beside it names what is in it."""
    assert made.key.endswith(".sql.gz.age")
    drilled = flow_run(restore_drill, library, environ=OPENED)
    assert drilled.result.verdict is Verdict.PROVEN, drilled.result.cause
    assert (drilled.result.rows, drilled.result.tables) == (320, 2)
    target = new_database(16)
    assert flow_run(restore_flow, to=target, environ=OPENED, backup="latest").result == 320
    assert restored(target) == [(20, 300)]
    plain = in_the_open(storage)
    assert [word for word in SECRETS if word in plain] == []
    [entry] = list_catalog(plan_of(storage))
    assert (entry["rows"], entry["verdict"], entry["encrypted"]) == (320, "PROVEN", True)


def test_debian_s_age_opens_it(
    made: BackupResult, storage: ObjectStore, new_database: NewDatabase, clients: dict[int, Client], tmp_path: Path
) -> None:
    """`age -d -i key.txt FILE | gunzip | psql` restores it with none of our code, with either key."""
    (tmp_path / "backup.age").write_bytes(storage.get(made.key))
    target = new_database(16)
    psql = f"{clients[16].program('psql')} -X -q -v ON_ERROR_STOP=1"
    for number, key in enumerate((OWN, SECOND)):
        (tmp_path / "key.txt").write_text(f"# a comment\n{key.secret}\n")
        then = psql if not number else "cat >/dev/null"
        command = f"set -o pipefail; age -d -i key.txt backup.age | gunzip | {then}"
        environ = child_environment(target.child_environment())
        subprocess.run(["bash", "-c", command], cwd=tmp_path, env=environ, check=True, timeout=60)
    assert restored(target) == [(20, 300)]


def test_no_key_says_nothing_about_a_backup(library: Server, made: BackupResult, flow_run: FlowRun) -> None:
    """Without a key, or with another, a drill is INCONCLUSIVE and a restore refused; the keys that would open it are named."""
    drilled = flow_run(restore_drill, library)
    assert (drilled.result.verdict, drilled.result.code) == (Verdict.INCONCLUSIVE, "PGR-KEY-MISSING")
    for environ, said in (({}, "no private key"), ({"AGE_IDENTITY": OTHER.secret}, OWN.fingerprint)):
        refused = flow_run(restore_flow, to=library, environ=environ, backup=made.name)
        assert isinstance(refused.error, KeyMissing)
        assert said in str(refused.error)
        assert not refused.error.transient


def test_a_foreign_one(
    library: Server, made: BackupResult, storage: ObjectStore, flow_run: FlowRun, new_database: NewDatabase
) -> None:
    """Without its manifest, as another tool would write it with age, it is drilled and restored all the same."""
    storage.remove(storage.key(f"{made.name}.manifest.json"))
    storage.client.put_object(Bucket=storage.bucket, Key=made.key, Body=storage.get(made.key))
    refused = flow_run(restore_flow, to=library, environ={"AGE_IDENTITY": OTHER.secret}, backup=made.name)
    assert isinstance(refused.error, KeyMissing)
    assert flow_run(restore_drill, library, environ=OPENED, backup=made.name).result.verdict is Verdict.PROVEN
    target = new_database(16)
    assert flow_run(restore_flow, to=target, environ=OPENED, backup=made.name).result == 320


Damage = Callable[[bytes], bytes]
DAMAGE: dict[str, Damage] = {
    "a bit": lambda data: data[:-40] + bytes([data[-40] ^ 4]) + data[-39:],
    "its header": lambda data: data[:60] + bytes([data[60] ^ 1]) + data[61:],
    "cut off": lambda data: data[:-1],
    "empty chunk": lambda data: data + b"\0" * 16,
}


@pytest.mark.parametrize("how", DAMAGE)
def test_damage_fails_a_drill(
    how: str, library: Server, made: BackupResult, storage: ObjectStore, flow_run: FlowRun
) -> None:
    """An encrypted object that was changed is FAILED, and not a byte of it is believed."""
    data = DAMAGE[how](storage.get(made.key))
    storage.client.put_object(Bucket=storage.bucket, Key=made.key, Body=data)
    drilled = flow_run(restore_drill, library, environ=OPENED)
    assert drilled.result.verdict is Verdict.FAILED
    plain = in_the_open(storage)
    assert [word for word in SECRETS if word in plain] == []


def test_plain_and_encrypted_in_one_folder(
    library: Server, made: BackupResult, storage: ObjectStore, flow_run: FlowRun, caplog: pytest.LogCaptureFixture
) -> None:
    """Each is listed, restored and removed as what it is, and the mixture is warned of."""
    ran = flow_run(backup_flow, library)
    assert ran.result.key.endswith(".sql.gz")
    assert ran.result.name != made.name
    assert "not encrypted, but 1 backup in this folder is" in caplog.text
    assert [entry["encrypted"] for entry in list_catalog(plan_of(storage))] == [True, False]
    assert flow_run(restore_drill, library, environ=OPENED, backup=made.name).result.verdict is Verdict.PROVEN
    assert flow_run(restore_drill, library, environ=OPENED, backup=ran.result.name).result.verdict is Verdict.PROVEN
    assert flow_run(prune, environ=BOTH).error is None
    repository = Repository(storage, Keys(Encryption(BOTH["BACKUP_AGE_RECIPIENTS"])))
    for backup in repository.backups():
        repository.remove(backup)
    assert list(storage.list_objects(beginning="backup_")) == []


def test_names_are_free_for_both(storage: ObjectStore) -> None:
    """A plain and an encrypted backup never take the same name."""
    plain, sealed = Repository(storage), Repository(storage, Keys(Encryption(OWN.public)))
    name, upload = plain.begin(utc_now(), 0)
    try:
        other, second = sealed.begin(utc_now(), 0)
        second.abort()
        assert other != name
    finally:
        upload.abort()


def test_anomalies_are_found_in_totals(library: Server, storage: ObjectStore, flow_run: FlowRun) -> None:
    """Where backups are made there is no key: totals are compared, and what is odd says so in the open without names."""
    for _ in range(3):
        assert flow_run(backup_flow, library, environ=BOTH).error is None
    told(library, "INSERT INTO books SELECT n, 1 FROM generate_series(1000, 3000) n")
    assert flow_run(backup_flow, library, environ=BOTH).error is None
    told(library, "DELETE FROM books")
    last = flow_run(backup_flow, library, environ=BOTH).result
    assert len(last.anomalies) == 1
    assert "fewer rows" in last.anomalies[0]
    assert [word for word in SECRETS if word in in_the_open(storage)] == []
    [entry] = [e for e in list_catalog(plan_of(storage)) if e["name"] == last.name]
    assert [a["kind"] for a in entry["anomalies"]] == ["fewer rows"]


def test_errors_name_nothing(library: Server, flow_run: FlowRun, caplog: pytest.LogCaptureFixture) -> None:
    """What a run that failed leaves behind and sends says what happened, and only its log names the table."""
    ran = flow_run(backup_flow, new_role(library), environ=BOTH)
    assert ran.error
    assert ran.error.code == "PGR-DUMP-FAILED"
    assert "authors" not in str(ran.error)
    assert "books" not in str(ran.error)
    assert "authors" in caplog.text or "books" in caplog.text


def test_plain_backups_need_no_cryptography(library: Server, command_line: Callable[..., Ended]) -> None:
    """A backup without encryption loads none of it."""
    done = command_line("backup", server=library, PYTHONVERBOSE="1")
    assert done.status == 0
    loaded = [line for line in done.err.splitlines() if line.startswith("import 'cryptography")]
    assert loaded == []


SERVER = {**BOTH, "BACKUP_DATABASES": "sealed_*", "VERIFY_DATABASES": "all"}


def test_a_whole_server(
    new_database: NewDatabase, storage: ObjectStore, flow_run: FlowRun, clients: dict[int, Client]
) -> None:
    """All databases, with a selection, certificates and a failure, are sealed alike, drilled, and restored with roles."""
    for number in (1, 2):
        server = new_database(16, LIBRARY, name=f"sealed_{number}")
    given = {
        **SERVER,
        "BACKUP_EXCLUDE_TABLE_DATA": "public.books",
        "EVIDENCE_KEY": SIGNING_KEY,
        "AGE_IDENTITY": OWN.secret,
    }
    assert flow_run(backup_flow, server, environ=given).result.done == 2
    drilled = flow_run(restore_drill, server, environ=given)
    assert (drilled.error, drilled.result.worst.report.verdict) == (None, Verdict.PROVEN)
    with running_server(clients[16]) as elsewhere:
        ran = flow_run(restore_flow, to=elsewhere, environ=given, backup="set_latest", globals_mode="too")
        assert (ran.error, ran.result.counted, ran.result.rows) == (None, "2 of 2", 40)
    assert flow_run(backup_flow, new_role(server), environ=SERVER).error
    plain = in_the_open(storage)
    assert b"certificate_" in plain
    assert [word for word in SECRETS if word in plain] == []
