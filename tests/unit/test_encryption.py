"""Whom backups are encrypted to, and what of a manifest and of a report anyone may read."""

from __future__ import annotations

import gzip
import json
from datetime import UTC, datetime
from pathlib import Path

import pytest
from pydantic import SecretStr

from blocks.config.encryption import Encryption, check_recipients, recipients_of
from blocks.config.load import load_settings
from blocks.config.plan import Plan
from blocks.errors import BackupDamaged, ConfigurationError, KeyMissing
from blocks.plan import BackupPlan
from blocks.s3.client import ObjectStore, StoredObject
from tasks.engine.age.files import PREFIX_BYTES, open_header
from tasks.engine.age.identities import new_identity
from tasks.engine.age.payload import decrypted
from tasks.engine.drill.veiled import veiled
from tasks.engine.repository.anomaly_facts import totals_of
from tasks.engine.repository.catalog import backups_in, named
from tasks.engine.repository.checks import failed, passed
from tasks.engine.repository.keys import Keys
from tasks.engine.repository.manifest import Anomaly, Manifest, TableRecord, Verdict
from tasks.engine.repository.outline import outline_of
from tasks.engine.repository.repository import Repository
from tasks.engine.repository.sealed_manifest import encoded, opened, outline_in
from tests.memory_store import MemoryStore
from tests.unit.test_catalog import FIRST, manifest, report

SECRET, OWN = new_identity()
_, SECOND = new_identity()
SSH = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIGkS8CA8rmYqPiGYRxGZzYuB2sYHQ2AYn2nZcWSgk2Hd me@laptop"
NAME = "backup_20240207_143022"


def keys() -> Keys:
    return Keys(Encryption(f"{OWN.recipient.text},{SECOND.recipient.text}"))


def secret_manifest() -> Manifest:
    anomalies = (
        Anomaly(kind="emptied", table="public.spies", sentence="public.spies had 7 rows, and has none", before=7, now=0),
        Anomaly(kind="fewer rows", sentence="the backup has 40 % fewer rows than the one before", before=10, now=6),
    )  # fmt: skip
    table = TableRecord(
        name="public.spies", columns=("real_name",), rows=7, digest="cd" * 16, raw_bytes=99, member_offset=0, skip_bytes=0
    )  # fmt: skip
    recipients = (OWN.recipient.text, SECOND.recipient.text)
    changed = {
        "name": NAME,
        "tables": (table,),
        "anomalies": anomalies,
        "warnings": ("public.spies",),
        "recipients": recipients,
    }
    return manifest().model_copy(update=changed)


@pytest.mark.parametrize("between", [",", ", ", " ", "\n", ",\n"])
def test_public_keys_in_a_variable(between: str) -> None:
    """Keys are separated by commas, spaces or lines; what follows an SSH key is its comment."""
    text = between.join([OWN.recipient.text, SSH, SECOND.recipient.text, OWN.recipient.text])
    found = recipients_of(text)
    assert [one.kind for one in found] == ["X25519", "ssh-ed25519", "X25519"]
    assert not Encryption(text).alone
    assert Encryption(OWN.recipient.text).alone
    assert not Encryption().alone


def test_public_keys_in_a_file(tmp_path: Path) -> None:
    """A path is read when a backup begins; what is wrong with it is an error of the configuration."""
    path = tmp_path / "recipients.txt"
    assert check_recipients(str(path)) == str(path)
    with pytest.raises(ConfigurationError, match="No such file"):
        _ = Encryption(str(path)).recipients
    path.write_text(f"# at home\n{OWN.recipient.text}\n\n{SSH}\n")
    assert len(Encryption(str(path)).recipients) == 2
    path.write_text(SECRET)
    with pytest.raises(ConfigurationError, match="private key") as refused:
        _ = Encryption(str(path)).recipients
    assert SECRET not in str(refused.value)


@pytest.mark.parametrize(
    "wrong", [SECRET, f"{OWN.recipient.text} {SECRET}", "age1abc", "ssh-ed25519", "ssh-ed25519 short", "-----BEGIN OPENSSH PRIVATE KEY-----", "me@laptop", ","],
    ids=lambda _: "key",  # the keys are new in each process
)  # fmt: skip
def test_unusable_keys(wrong: str) -> None:
    """Anything else is refused, a private key without being shown."""
    with pytest.raises(ValueError, match=r".") as refused:
        recipients_of(wrong)
    assert SECRET not in str(refused.value)


def test_a_private_key_in_a_variable(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is no setting of a plan, and no representation shows it; one that is cut off is refused."""
    monkeypatch.setenv("AGE_IDENTITY", SECRET)
    assert SECRET not in repr(load_settings(frozenset()))
    assert SECRET not in repr(keys().identities())
    assert not any("identity" in name for name in BackupPlan.model_fields)
    monkeypatch.setenv("AGE_IDENTITY", SECRET[:-1])
    with pytest.raises(ConfigurationError) as refused:
        load_settings(frozenset())
    assert SECRET[:-1] not in "\n".join(refused.value.lines())


def test_a_sealed_manifest(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its open part has totals and no names, its head tells the origin, and a key opens all of it."""
    made = secret_manifest()
    data = encoded(made, keys())
    document = json.loads(data)
    document.pop("sealed")
    said = json.dumps(document)
    assert [word for word in ("spies", "real_name", "cdcd") if word in said] == []
    assert len(said) < 4096
    outline = outline_in(data, NAME)
    assert outline == outline_of(made)
    assert (outline.rows, outline.tables, outline.warning_count) == (7, 1, 1)
    assert [a.kind for a in outline.anomalies] == ["sealed", "fewer rows"]
    assert totals_of(outline).raw_bytes == made.raw_bytes
    with pytest.raises(KeyMissing):
        opened(data, NAME, keys())
    monkeypatch.setenv("AGE_IDENTITY", SECRET)
    assert opened(data, NAME, keys()) == made


@pytest.mark.parametrize("field", ["rows", "sha256", "database", "recipients"])
def test_an_open_part_that_was_changed(field: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """What the open part says must be what was sealed."""
    monkeypatch.setenv("AGE_IDENTITY", SECRET)
    document = json.loads(encoded(secret_manifest(), keys()))
    changed = {"rows": 8, "sha256": "0" * 64, "database": "other", "recipients": document["recipients"][:1]}
    data = json.dumps(document | {field: changed[field]}).encode()
    with pytest.raises(BackupDamaged, match="not what was sealed"):
        opened(data, NAME, keys())


@pytest.mark.parametrize("sealed", ["", "no base64!", "YWJj"])
def test_a_sealed_part_that_is_unreadable(sealed: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is damaged, whatever it is."""
    monkeypatch.setenv("AGE_IDENTITY", SECRET)
    document = json.loads(encoded(secret_manifest(), keys())) | {"sealed": sealed}
    with pytest.raises(BackupDamaged):
        opened(json.dumps(document).encode(), NAME, keys())


def test_a_report_without_names() -> None:
    """Verdict, totals and durations stay; names, also those of your own queries, are sealed."""
    checks = (
        passed("row counts", "7 rows"), failed("row digests", "public.spies: other rows"), passed("backup age", "3 h old"),
        passed("spies alive", "got 7"), passed("extensions", "postgis 3.4"),
    )  # fmt: skip
    full = report(FIRST).model_copy(
        update={"verdict": Verdict.FAILED, "checks": checks, "cause": "row digests: public.spies: other rows", "warnings": ("spies",),
                "code": "PGR-BACKUP-DAMAGED", "hint": "look at spies"}
    )  # fmt: skip
    told = veiled(full, secret_manifest(), Keys())
    assert "spies" not in told.model_dump_json(exclude={"sealed"})
    assert "postgis" not in told.model_dump_json(exclude={"sealed"})
    assert told.sealed
    assert told.verdict is Verdict.FAILED
    assert [c.evidence for c in told.checks if c.name in ("row counts", "backup age")] == ["7 rows", "3 h old"]
    assert told.cause.startswith("row digests; ")


def test_both_kinds_in_a_listing() -> None:
    """Both suffixes are backups, found by name with and without them; of two with one name, the encrypted one counts."""
    other = "backup_20240208_000000"
    files = [f"{NAME}.sql.gz", f"{NAME}.sql.gz.age", f"{NAME}.globals.sql.gz.age", f"{other}.sql.gz"]
    moment = datetime(2024, 2, 9, tzinfo=UTC)
    found = backups_in("p/", [StoredObject(f"p/{file}", 5, moment) for file in files])
    assert [(b.name, b.encrypted, b.globals_bytes) for b in found] == [(NAME, True, 5), (other, False, 0)]
    assert named(found, f"{NAME}.sql.gz.age") is named(found, NAME) is found[0]


def test_names_are_taken_by_either_kind() -> None:
    """Neither takes the name of the other, whether that is complete or only claimed."""
    store, moment = MemoryStore(), datetime(2024, 2, 7, 14, 30, 22, tzinfo=UTC)
    plain, sealed = Repository(store), Repository(store, keys())
    name, _ = plain.begin(moment, 0)
    assert sealed.begin(moment, 0)[0] != name
    store.objects[sealed.key(NAME)] = b"x"
    assert plain.free_name(moment) != NAME


def test_a_selection_s_mark_is_keyed() -> None:
    """Who has the bucket can't try patterns against it; it is the same for the same keys, in any order."""
    fields = {"exclude_tables": "public.spies"}
    store = ObjectStore.at(
        endpoint="http://127.0.0.1:1", bucket="backups", prefix="", key_id="k", secret=SecretStr("s")
    )
    one, other = OWN.recipient.text, SECOND.recipient.text
    marks = [
        Plan.of("p", store, age_recipients=text, **fields).selection_mark
        for text in ("", one, f"{one} {other}", f"{other} {one}")
    ]
    assert len(set(marks)) == 3
    assert marks[2] == marks[3]
    assert Plan.of("p", store, age_recipients=one).selection_mark == ""


def test_one_table_of_an_encrypted_object(monkeypatch: pytest.MonkeyPatch) -> None:
    """Offsets count in what was encrypted: from one, only the chunks behind it are read, and each decrypts by itself."""
    monkeypatch.setenv("AGE_IDENTITY", SECRET)
    members = [gzip.compress(b"%d " % number * 40_000, 0) for number in range(4)]
    stored, offset = keys().sealed(b"".join(members)), len(members[0] + members[1])
    key = open_header(stored[:PREFIX_BYTES], keys().identities())
    start, _ = key.chunk_range(offset)
    assert start == key.payload_offset + offset // 65536 * 65552
    found = b"".join(decrypted(iter((stored[start:],)), key, plain_offset=offset))
    assert gzip.decompress(found) == b"2 " * 40_000 + b"3 " * 40_000
