"""Evidence holds only if nothing in it was changed, removed or reordered, whoever had the files."""

from __future__ import annotations

import base64
import hashlib
import json
import math
import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import SecretStr

from blocks.config.environment import child_environment
from blocks.config.evidence import signing_key, signs
from blocks.config.load import load_settings
from blocks.config.values import private_key_in
from blocks.errors import ConfigurationError, EvidenceBroken
from tasks.engine.drill.rehearsal import Rehearsal
from tasks.engine.evidence.canonical import canonical
from tasks.engine.evidence.certificate import BackupSeen, Certificate, Drill, GlobalsSeen, TableSeen, read_certificate
from tasks.engine.evidence.chain import Chain, read_chain
from tasks.engine.evidence.files import DownloadedFiles, StoredFiles
from tasks.engine.evidence.keys import PublicKey, Signer, new_key, public_keys_in, signer_of
from tasks.engine.evidence.reports import with_reports
from tasks.engine.evidence.signing import Signed, sign
from tasks.engine.evidence.statement import of_drill
from tasks.engine.repository.catalog import Backup
from tasks.engine.repository.checks import GLOBALS
from tasks.engine.repository.manifest import Check, GlobalsRecord, Verdict
from tasks.engine.repository.names import EVIDENCE, OBJECT, certificate_file, name_at
from tasks.engine.repository.repository import Repository
from tasks.status.check import check_variables
from tasks.status.evidence import hashes_given
from tests.memory_store import MemoryStore
from tests.unit.test_catalog import FIRST, manifest, report

NOW, HOUR = datetime(2026, 11, 26, 6, tzinfo=UTC), timedelta(hours=1)
TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
VALUES: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | TEXT | st.integers(-(1 << 53) + 1, (1 << 53) - 1),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text("abcXYZ_09", max_size=5), inner, max_size=4),
    max_leaves=12,
)


@cache
def keys() -> tuple[Signer, Signer]:
    """Two private keys."""
    one, other = (signer_of(private_key_in(new_key()[0])) for _ in range(2))
    return one, other


def certificate(number: int = 0, verdict: Verdict = Verdict.PROVEN, **fields: Any) -> Certificate:
    """A certificate of a drill that is not yet in a chain."""
    moment = NOW + timedelta(days=number)
    seen = BackupSeen(
        name=FIRST, database='odd "name" ä', object_bytes=7, object_sha256="ab" * 32, rows=3,
        tables=(TableSeen(name='public."ä"', rows=3, digest="f" * 32),),
    )  # fmt: skip
    told: dict[str, Any] = {"started_at": moment, "ended_at": moment, "backup": seen, "drill": Drill(verdict=verdict)}
    return Certificate(tool_version="1", plan="default", **(told | fields))


def a_backup(moment: datetime) -> Backup:
    return Backup(name_at(moment), moment, "k", 9, has_manifest=True, has_report=False)


@dataclass
class Bucket:
    """A folder in memory in which certificates are signed; `forked` signs two that don't see each other."""

    store: MemoryStore = field(default_factory=MemoryStore)

    @property
    def files(self) -> StoredFiles:
        return StoredFiles(self.store)

    @property
    def contents(self) -> dict[str, bytes]:
        """The files of the evidence by name."""
        return {key.rpartition("/")[2]: data for key, data in self.store.objects.items() if EVIDENCE in key}

    def signed(self, count: int, forked: Iterable[int] = ()) -> Bucket:
        """Sign some certificates; those with a number in `forked` are signed twice at the same time."""
        for number in range(1, count + 1):
            before = dict(self.store.objects)
            self.sign(certificate(number))
            if number in set(forked):
                after, self.store.objects = self.store.objects, before
                self.sign(certificate(number, Verdict.FAILED))
                self.store.objects |= after
        return self

    def sign(self, stated: Certificate, signer: Signer | None = None, backups: Iterable[Backup] = ()) -> Signed:
        return sign(self.files, signer or keys()[0], stated, backups)

    def put(self, name: str, data: bytes) -> None:
        self.store.put(self.store.key(EVIDENCE + name), data)

    def chain(self, *expected: str, known: Iterable[PublicKey] | None = None) -> Chain:
        later = datetime.now(UTC) + HOUR
        return read_chain(self.files, [keys()[0].public] if known is None else [*known], later, expected)


@pytest.mark.parametrize("result", ["passed", "warning", "failed", "not possible"])
def test_a_certificate_says_whether_roles_and_settings_were_proven(result: Any) -> None:
    """It names their file by its hash, so that nobody can put another beside the backup and call it proven."""
    record = GlobalsRecord(
        file=f"{FIRST}.globals.sql.gz", raw_bytes=9, object_bytes=5, sha256="cd" * 32, client_version="16.4", statements=4,
        roles=2, settings=1,
    )  # fmt: skip
    seen, backup = Rehearsal(manifest=manifest(globals=record)), a_backup(NOW)
    drilled = report(FIRST).model_copy(update={"checks": (Check(name=GLOBALS, result=result),)})
    drill = of_drill("default", backup, seen, drilled).drill
    assert drill
    assert drill.globals == GlobalsSeen(
        result=result, file=record.file, sha256=record.sha256, statements=4, roles=2, memberships=0, tablespaces=0, settings=1
    )  # fmt: skip
    assert drill.globals_proven == (result == "passed")
    none = of_drill("default", backup, Rehearsal(manifest=manifest()), drilled)
    assert b'"globals":' not in none.encode()


# --- canonical JSON ---------------------------------------------------------------------------------------------------


@given(VALUES)
def test_canonical_json_says_the_same(value: Any) -> None:
    """Encoding loses nothing, and encoding what was decoded yields the same bytes."""
    data = canonical(value)
    assert json.loads(data) == value
    assert canonical(json.loads(data)) == data


@given(st.dictionaries(st.text("abcXYZ_09", max_size=5), VALUES, max_size=6), st.randoms())
def test_canonical_json_does_not_depend_on_order(value: dict[str, Any], chance: Any) -> None:
    """The same facts have the same bytes, in whichever order they were gathered."""
    items = list(value.items())
    chance.shuffle(items)
    assert canonical(dict(items)) == canonical(value)


def test_the_examples_of_the_rfc() -> None:
    """Strings are as in RFC 8785, section 3.2.2.2 and 3.2.3: nothing is escaped that need not be."""
    text = '\u20ac$\u000f\nA\'B"\\\\"/\u007f'
    assert canonical({"b": text, "a": [True, None, -0, 56], "": ""}) == (
        '{"":"","a":[true,null,0,56],"b":"€$\\u000f\\nA\'B\\"\\\\\\\\\\"/\u007f"}'.encode()
    )


@pytest.mark.parametrize("value", [1.5, 1.0, math.nan, 1 << 53, {"ä": 1}, {1: 2}, {"a": [{"b": 0.5}]}, b"", "\ud800"])
def test_what_has_no_canonical_form(value: Any) -> None:
    """What libraries would write differently is refused."""
    with pytest.raises(ValueError):
        canonical(value)


# --- keys -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("spelled", [
    str, lambda pem: base64.b64encode(pem.encode()).decode(), lambda pem: "".join(pem.splitlines()[1:-1]),
    lambda pem: pem.replace("\n", "\\n"), lambda pem: pem.replace("\n", " "), lambda pem: pem.replace("\n", "\r\n"),
])  # fmt: skip
def test_ways_to_give_a_key(spelled: Callable[[str], str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """PEM as it is, in one line as variables need it, or base64; from the environment or from a file."""
    pem, public = new_key()
    given = spelled(pem)
    monkeypatch.setenv("EVIDENCE_KEY", given)
    assert signer_of(signing_key() or b"").public == public
    monkeypatch.delenv("EVIDENCE_KEY")
    assert (signing_key(), signs()) == (None, False)
    (tmp_path / "key").write_text(given)
    monkeypatch.setenv("EVIDENCE_KEY_FILE", str(tmp_path / "key"))
    assert signer_of(signing_key() or b"").public == public


@pytest.mark.parametrize("data", [None, b"not a key", b"\x00\xff"])
def test_a_file_without_a_key(data: bytes | None, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """`check` names the file, and quotes nothing of it."""
    path = tmp_path / "key"
    if data is not None:
        path.write_bytes(data)
    monkeypatch.setenv("EVIDENCE_KEY_FILE", str(path))
    (found,) = [each for each in check_variables() if each.name == "evidence"]
    assert (found.result, str(path) in found.text, "not a key" in found.text) == ("error", True, False)


@given(
    st.binary(max_size=80)
    | st.binary(min_size=32, max_size=48).map(bytes.fromhex("302e020100300506032b657004220420").__add__)
)
def test_what_is_no_key(data: bytes) -> None:
    """Anything but an Ed25519 key is refused with a ValueError, and what is accepted can sign."""
    try:
        der = private_key_in(base64.b64encode(data).decode())
    except ValueError:
        return
    assert len(signer_of(der).sign(b"")) == 64


def test_no_key_is_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    """Settings and signers hide the key, and child programs don't get it."""
    pem, _ = new_key()
    secret = pem.splitlines()[1]
    monkeypatch.setenv("EVIDENCE_KEY", pem)
    settings = load_settings(frozenset())
    assert isinstance(settings.evidence_key, SecretStr)
    shown = f"{settings!r} {settings.model_dump()} {signer_of(private_key_in(pem))!r} {child_environment({})}"
    assert secret not in shown
    assert private_key_in(pem)[-32:].hex() not in shown


@pytest.mark.parametrize("pem", ["", "nothing", new_key()[0], new_key()[1].pem.replace("M", "N", 1)])
def test_what_is_no_public_key(pem: str) -> None:
    """A private key, or a damaged one, is reported as an error in the configuration."""
    with pytest.raises(ConfigurationError, match="no Ed25519 public key"):
        public_keys_in(pem.encode(), "evidence.pub")


@given(st.text("0123456789abcdefABCDEF", min_size=64, max_size=64))
def test_a_hash_may_be_copied_from_anywhere(text: str) -> None:
    """Neither capitals nor spaces around it accuse anybody."""
    assert hashes_given([f" {text}\n"]) == [text.lower()]


@pytest.mark.parametrize("text", ["", "ab" * 31, "ab" * 33, "xy" * 32, "ab" * 8 + "…", "sha256:" + "ab" * 32])
def test_what_is_no_hash(text: str) -> None:
    """A part of a hash is wrong usage, not a certificate that is missing."""
    with pytest.raises(ConfigurationError, match="no SHA-256"):
        hashes_given(["ab" * 32, text])


# --- the chain --------------------------------------------------------------------------------------------------------


@given(st.integers(1, 5), st.sets(st.integers(1, 5), max_size=2))
def test_a_chain_holds(count: int, forked: set[int]) -> None:
    """An untouched chain has no faults; two made at once are both valid, and named by the next one."""
    chain = Bucket().signed(count, forked).chain()
    assert (chain.faults, chain.verified) == ((), True)
    assert len(chain.certificates) == count + len({n for n in forked if n <= count})
    assert all("at the same time" in note for note in chain.notes)
    assert len(chain.notes) == len({n for n in forked if n <= count})


@given(st.data(), st.integers(2, 5), st.sets(st.integers(1, 5), max_size=1))
def test_any_change_removal_or_reordering_is_seen(data: st.DataObject, count: int, forked: set[int]) -> None:
    """Whatever is done to a file, but to the last certificate's absence, the check finds a fault."""
    bucket = Bucket().signed(count, forked)
    contents = bucket.contents
    last = [name for name in contents if name.startswith(f"certificate_{count:06}")]
    name = data.draw(st.sampled_from(sorted(contents)))
    deed = data.draw(st.sampled_from(["flip", "cut", "remove", "swap", "rename"]))
    key = bucket.store.key(EVIDENCE + name)
    if deed == "flip":
        at = data.draw(st.integers(0, 8 * len(contents[name]) - 1))
        changed = bytearray(contents[name])
        changed[at // 8] ^= 1 << at % 8
        bucket.put(name, bytes(changed))
    elif deed == "cut":
        bucket.put(name, contents[name][: data.draw(st.integers(0, len(contents[name]) - 1))])
    elif deed == "remove":
        gone = [name] if name not in last else last
        for each in gone:
            bucket.store.remove(bucket.store.key(EVIDENCE + each))
    elif deed == "swap":
        other = data.draw(st.sampled_from(sorted(n for n in contents if n != name and n[-4:] == name[-4:])))
        bucket.put(name, contents[other])
        bucket.put(other, contents[name])
    else:
        bucket.store.remove(key)
        bucket.put(name.replace(name[12:18], f"{data.draw(st.integers(count + 1, 9)):06}"), contents[name])
    known = [hashlib.sha256(contents[n]).hexdigest() for n in last if n.endswith(".json")]
    assert bucket.chain(*known).faults


@pytest.mark.parametrize("field", ["number", "previous", "drill"])
def test_a_certificate_that_is_signed_anew_is_seen(field: str) -> None:
    """Somebody with another key can't replace one: the key is unknown, and the next one names the hash of the first."""
    bucket = Bucket().signed(3)
    name = min(bucket.contents)
    first = read_certificate(bucket.contents[name])
    assert first
    changes = {"number": 1, "previous": (), "drill": Drill(verdict=Verdict.FAILED)}
    forged = first.model_copy(update={field: changes[field], "key": keys()[1].public.fingerprint}).encode()
    for file in list(bucket.contents):
        if file.startswith("certificate_000001"):
            bucket.store.remove(bucket.store.key(EVIDENCE + file))
    file = certificate_file(1, hashlib.sha256(forged).hexdigest())
    bucket.put(file, forged)
    bucket.put(file.replace(".json", ".sig"), keys()[1].sign(forged))
    faults = "\n".join(bucket.chain().faults)
    assert "it names a key that was not given" in faults
    assert "it names certificate 1 with another SHA-256" in faults
    assert "with another SHA-256" in "\n".join(bucket.chain(known=[each.public for each in keys()]).faults)


def test_a_key_that_was_changed() -> None:
    """With both public keys the chain holds; with one of them, those of the other are named."""
    bucket = Bucket().signed(2)
    bucket.sign(certificate(3), keys()[1])
    assert bucket.chain(known=[each.public for each in keys()]).faults == ()
    assert len(bucket.chain().faults) == 1
    assert len(bucket.chain(known=[keys()[1].public]).faults) == 2
    unchecked = bucket.chain(known=[])
    assert (unchecked.faults, unchecked.verified) == ((), False)


def test_a_signature_without_its_certificate() -> None:
    """The newest certificate was deleted, or its run was killed: a fault, unless it is so new that a run may be writing."""
    bucket = Bucket().signed(2)
    last = max(name for name in bucket.contents if name.endswith(".json"))
    bucket.store.remove(bucket.store.key(EVIDENCE + last))
    alone = last.replace(".json", ".sig")
    writing = read_chain(bucket.files, [keys()[0].public], datetime.now(UTC))
    assert (writing.faults, [alone in note for note in writing.notes]) == ((), [True])
    assert ([alone in fault for fault in bucket.chain().faults], bucket.chain().notes) == ([True], ())
    bucket.sign(certificate(2, Verdict.FAILED))
    assert [alone in fault for fault in bucket.chain().faults] == [True]


def test_the_chain_of_another_folder_is_not_taken_for_this_one() -> None:
    """Whole and signed, it is still another's; files that were moved are noted once a certificate was made here."""
    other = Bucket(MemoryStore(folder="other")).signed(2)
    bucket = Bucket()
    for name, data in other.contents.items():
        bucket.put(name, data)
    assert other.chain().faults == ()
    assert ["made in memory/other, not in memory/backups" in fault for fault in bucket.chain().faults] == [True]
    assert bucket.sign(certificate(3)).strange == ()
    assert (bucket.chain().faults, bucket.chain().notes) == ((), ("2 certificates made in memory/other",))


def test_one_certificate_of_another_folder_leaves_no_gap() -> None:
    """Signed with the same key, but numbered by another chain: it is passed over."""
    other, bucket = Bucket(MemoryStore(folder="other")).signed(9), Bucket().signed(3)
    for name, data in other.contents.items():
        if name.startswith("certificate_000009"):
            bucket.put(name, data)
    done = bucket.sign(certificate(4))
    assert (done.file[:18], len(done.strange)) == ("certificate_000004", 1)


def test_a_download_does_not_tell_where_it_is_from(tmp_path: Path) -> None:
    """The check says which folder its certificates name, for the auditor to compare; hostile text is harmless."""
    bucket = Bucket(MemoryStore(folder="x\x1b[2J\u202e")).signed(1)
    for name, data in bucket.contents.items():
        (tmp_path / name).write_bytes(data)
    chain = read_chain(DownloadedFiles(tmp_path), [keys()[0].public], NOW)
    assert (chain.faults, chain.notes) == ((), ("1 certificate made in memory/x\\x1b[2J\\u202e",))


def test_one_that_no_later_one_names() -> None:
    """Of two made at once, the slower may be too late for the next one, which is said."""
    bucket = Bucket().signed(1)
    alone = dict(bucket.store.objects)
    bucket.sign(certificate(2))
    bucket.sign(certificate(3))
    rest, bucket.store.objects = bucket.store.objects, alone
    late = bucket.sign(certificate(2, Verdict.FAILED))
    bucket.store.objects |= rest
    chain = bucket.chain()
    assert chain.faults == ()
    assert any(f"{late.file} is named by no later one" in note for note in chain.notes)


def forged(number: int, key: Signer | None = None, **fields: Any) -> tuple[str, bytes, bytes]:
    """A certificate that was never in the chain: its file, its contents, and a signature, which only `key` makes valid."""
    fingerprint = (key or keys()[1]).public.fingerprint
    before = ("0" * 64,) if number > 1 else ()
    data = (
        certificate(**fields)
        .model_copy(update={"number": number, "previous": before, "key": fingerprint, "folder": MemoryStore().address})
        .encode()
    )
    data = data.replace(b'"1-01-01T', b'"0001-01-01T')
    return certificate_file(number, hashlib.sha256(data).hexdigest()), data, key.sign(data) if key else bytes(64)


LONG_AGO = datetime(1, 1, 1, tzinfo=UTC)
PLANTED = {
    "empty": (certificate_file(999_999_999_999, "0123456789abcdef" * 4), b"{}", None),
    "empty, with a signature": (certificate_file(999, "0123456789abcdef" * 4), b"{}", bytes(64)),
    "too large": (certificate_file(5, "0123456789abcdef" * 4), bytes((64 << 20) + 1), bytes(64)),
    "without a signature": (*forged(4, keys()[0])[:2], None),
    "with a wrong signature": (*forged(4, keys()[0])[:2], bytes(64)),
    "with a large signature": (*forged(4, keys()[0])[:2], bytes(1 << 20)),
    "from long ago": (*forged(4, keys()[0], started_at=LONG_AGO)[:2], None),
    "with a stranger's key": forged(999_999_999_999, keys()[1]),
    "renamed": (certificate_file(7, "0123456789abcdef" * 4), *forged(4, keys()[0])[1:]),
}  # fmt: skip


@pytest.mark.parametrize("planted", PLANTED)
def test_what_somebody_put_there_stops_no_chain(planted: str) -> None:
    """A file that no key of ours signed is passed over and told; once it is removed, the chain is as if it never was."""
    file, data, signature = PLANTED[planted]
    bucket = Bucket().signed(3)
    bucket.put(file, data)
    if signature is not None:
        bucket.put(file.replace(".json", ".sig"), signature)
    done = bucket.sign(certificate(4), backups=[a_backup(NOW)])
    assert (done.file[:18], done.strange) == ("certificate_000004", (file,))
    assert any(file in fault for fault in bucket.chain().faults)
    assert not [fault for fault in bucket.chain().faults if "missing" in fault and file not in fault]
    for name in (file, file.replace(".json", ".sig")):
        bucket.store.remove(bucket.store.key(EVIDENCE + name))
    bucket.sign(certificate(5))
    assert (bucket.chain().faults, bucket.chain().notes) == ((), ())


def test_the_end_may_date_from_the_year_1() -> None:
    """Whatever the clocks of signed certificates and of backups said, the next one can be signed."""
    bucket = Bucket()
    file, data, signature = forged(1, keys()[0], started_at=LONG_AGO, ended_at=LONG_AGO)
    bucket.put(file, data)
    bucket.put(file.replace(".json", ".sig"), signature)
    bucket.sign(certificate(2), backups=[a_backup(LONG_AGO), a_backup(datetime(9999, 12, 31, 23, tzinfo=UTC))])
    assert bucket.chain().faults == ()


def test_too_many_strange_files_are_refused() -> None:
    """What is read is bounded: behind hundreds of planted files, nothing is signed, and the error names one."""
    bucket = Bucket().signed(1)
    for number in range(500, 700):
        bucket.put(certificate_file(number, "0" * 64), b"{}")
    with pytest.raises(EvidenceBroken, match="certificate_000699"):
        bucket.sign(certificate(2))


@given(st.sets(st.integers(1, 10**12 - 1), min_size=1, max_size=8))
def test_gaps_are_named_in_ranges(numbers: set[int]) -> None:
    """Each number below the last one is there, or in a range that is missing, however large the numbers are."""
    bucket = Bucket()
    for number in numbers:
        file, data, signature = forged(number, keys()[0])
        bucket.put(file, data)
        bucket.put(file.replace(".json", ".sig"), signature)
    missing = 0
    for fault in bucket.chain().faults:
        if found := re.fullmatch(r"certificates? ([0-9]+)(?: to ([0-9]+))? (?:is|are) missing", fault):
            missing += int(found[2] or found[1]) - int(found[1]) + 1
    assert missing == max(numbers) - len(numbers)


@pytest.mark.parametrize(
    "name",
    [
        "certificate_1.json",
        "certificate_000001_xyz.json",
        "notes.txt",
        "evidence.pub",
        "certificate_000002_0000000000000000.json.bak",
    ],
)
def test_other_files_are_left_alone(name: str) -> None:
    """What isn't named as a certificate is none, and disturbs nothing."""
    bucket = Bucket().signed(1)
    bucket.put(name, b"{}")
    assert (bucket.chain().faults, bucket.chain().notes) == ((), ())
    assert bucket.sign(certificate(2)).file.startswith("certificate_000002_")


def test_backups_are_told_once() -> None:
    """The first certificate lists all backups, later ones those since the one before, with a day for long dumps."""
    backups = [a_backup(NOW + timedelta(days=days)) for days in range(-9, 5)]
    bucket = Bucket()
    listed = []
    for day in (1, 3):
        file = bucket.sign(
            certificate(day), backups=[b for b in backups if b.taken_at <= NOW + timedelta(days=day)]
        ).file
        made = read_certificate(bucket.contents[file])
        listed.append([each.name for each in made.backups] if made else [])
    assert listed == [[b.name for b in backups[:11]], [b.name for b in backups[9:13]]]


def test_every_backup_is_listed_however_many_others_share_the_folder() -> None:
    """Certificates about another database, or by another key or clock, don't keep backups out of the next list."""
    bucket = Bucket()
    backups = [a_backup(NOW + timedelta(days=days)) for days in range(20)]
    other = certificate().backup.model_copy(update={"database": "other"})
    bucket.sign(certificate(3), backups=backups[:4])
    for day in range(4, 20):
        bucket.sign(certificate(day, backup=other))
    bucket.sign(certificate(12), keys()[1])
    bucket.sign(certificate(3650))
    file = bucket.sign(certificate(19), backups=backups).file
    made = read_certificate(bucket.contents[file])
    assert made
    assert [each.name for each in made.backups] == [b.name for b in backups[2:]]


def test_a_certificate_whose_answer_was_lost_is_stored_once() -> None:
    """The same run signs the same certificate, also if another one has been added since; another run another one."""
    bucket = Bucket()
    stated = certificate(1, started_at=NOW + timedelta(microseconds=7), ended_at=NOW)
    done = bucket.sign(stated)
    assert bucket.sign(stated, backups=[a_backup(NOW)]) == done
    bucket.sign(certificate(2))
    assert bucket.sign(stated) == done
    assert len(bucket.contents) == 4
    bucket.sign(stated.model_copy(update={"drill": Drill(verdict=Verdict.FAILED)}))
    assert len(bucket.contents) == 6


def test_reports_are_compared() -> None:
    """A report that was changed is a fault; one without a certificate, or one that is gone, is none."""
    store = MemoryStore()
    repository, bucket = Repository(store), Bucket(store)
    store.put(store.key(FIRST + OBJECT), b"x")
    for hours in range(3):
        made = report(FIRST).model_copy(update={"started_at": NOW + timedelta(hours=hours)})
        file = repository.store_report(made)
        if hours < 2:
            drill = Drill(verdict=made.verdict, report=file, report_sha256=hashlib.sha256(made.encode()).hexdigest())
            bucket.sign(certificate(hours, drill=drill))
    chain = with_reports(bucket.chain(), repository, repository.backups())
    assert (chain.faults, len(chain.notes)) == ((), 1)
    assert "has no certificate" in chain.notes[0]
    first, second, _ = sorted(repository.backups()[0].reports)
    store.put(store.key(first), report(FIRST, Verdict.FAILED).encode())
    listed = repository.backups()
    store.remove(store.key(second))
    assert with_reports(bucket.chain(), repository, listed).faults == (f"{first} was changed since it was certified",)
