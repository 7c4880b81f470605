"""Find the end of the chain that the next certificate continues, whatever else somebody put into the folder."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice

from blocks.errors import BackupDamaged, EvidenceBroken
from tasks.engine.evidence.certificate import Certificate, read_certificate
from tasks.engine.evidence.files import SIGNATURE_BYTES, StoredFiles
from tasks.engine.evidence.keys import PublicKey
from tasks.engine.repository.names import certificate_file, certificate_number, signature_file

# How many files are read at most: more than a shared folder gets in a week of hourly drills of another database.
_MOST = 200


@dataclass(frozen=True)
class Known:
    """A certificate of the chain as it is stored; `ours` is whether this key signed it for this folder."""

    file: str
    sha256: str
    certificate: Certificate
    ours: bool


@dataclass(frozen=True)
class End:
    """The certificates with the highest number, and the files with higher ones that are none of this chain.

    `told` is the newest that this key signed of the same database, from which on backups need to be listed; None if
    there is none among the last ones.
    """

    last: tuple[Known, ...] = ()
    strange: tuple[str, ...] = ()
    told: Known | None = None

    @property
    def number(self) -> int:
        """The highest number."""
        return self.last[0].certificate.number if self.last else 0


def read_end(files: StoredFiles, key: PublicKey, stated: Certificate) -> End:
    """Return the end of the chain that a certificate is to be added to. Raises EvidenceBroken if strange files hide it."""
    last, strange, told = list[Known](), list[str](), None
    for name, known in islice(_newest_first(files, key), _MOST):
        if told and certificate_number(name) != last[0].certificate.number:
            break
        if known is None:
            strange += [] if last else [name]
            continue
        if not last or known.certificate.number == last[0].certificate.number:
            last.append(known)
        told = told or (known if known.ours and _precedes(known.certificate, stated) else None)
    if len(strange) == _MOST:
        raise EvidenceBroken(f"{_MOST} files or more are no certificates of this chain; the first is {strange[0]}")
    return End(tuple(last), tuple(strange), told)


def _precedes(made: Certificate, stated: Certificate) -> bool:
    """Whether a certificate is about the same database, and not from a clock that was ahead."""
    return _subject(made) == _subject(stated) and made.started_at <= stated.started_at


def _subject(certificate: Certificate) -> tuple[str, str, str]:
    return certificate.plan, certificate.backup.database, certificate.backup.system_identifier


def _newest_first(files: StoredFiles, key: PublicKey) -> Iterator[tuple[str, Known | None]]:
    """Yield each file that is named as a certificate, and what it is; None for one that must not be continued.

    What another key signed, or this one for another folder, may be from before the key was changed or the files were
    moved. It counts only if at least half of the numbers up to its own are there, or one file could leave a gap that
    never closes.
    """
    present = frozenset(files.names())
    numbered = sorted((number, name) for name in present if (number := certificate_number(name)))
    places = {number: place for place, number in enumerate(sorted({number for number, _ in numbered}), 1)}
    for number, name in reversed(numbered):
        known = _read(files, name, key) if signature_file(name) in present else None
        yield name, known if known and (known.ours or number <= 2 * places[number]) else None


def _read(files: StoredFiles, name: str, key: PublicKey) -> Known | None:
    try:
        data, signature = files.read(name), files.read(signature_file(name), SIGNATURE_BYTES)
    except BackupDamaged:
        return None
    made = read_certificate(data) if data and signature else None
    if data is None or signature is None or made is None:
        return None
    sha256 = hashlib.sha256(data).hexdigest()
    if name != certificate_file(made.number, sha256):
        return None
    if made.key == key.fingerprint and not key.verifies(signature, data):
        return None
    return Known(name, sha256, made, (made.key, made.folder) == (key.fingerprint, files.address))
