"""Add a certificate to the chain: number it, name those before it, sign it, store it."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import timedelta

from tasks.engine.evidence.certificate import Certificate, Listed, began, read_certificate
from tasks.engine.evidence.files import StoredFiles
from tasks.engine.evidence.keys import Signer
from tasks.engine.repository.catalog import Backup
from tasks.engine.repository.names import certificate_file, certificate_number, signature_file

# A backup is listed when its dump ends, which can be long after the moment in its name.
_LONG_DUMP = timedelta(days=1)


@dataclass(frozen=True)
class Signed:
    """A certificate that was stored."""

    file: str
    sha256: str


def sign(files: StoredFiles, signer: Signer, stated: Certificate, backups: Iterable[Backup]) -> Signed:
    """Store a certificate as the last of the chain, its signature first.

    It names all with the highest number, for two that end at once take the same one. Raises ValueError if it has no
    canonical form.
    """
    last, previous = _last(files)
    since = min((began(read_certificate(data)) for data in previous), default=began(None))
    listed = [b for b in backups if since == began(None) or b.taken_at >= since - _LONG_DUMP]
    data = stated.model_copy(
        update={
            "number": last + 1,
            "previous": tuple(sorted(hashlib.sha256(each).hexdigest() for each in previous)),
            "key": signer.public.fingerprint,
            "backups": tuple(Listed(name=b.name, object_bytes=b.object_bytes) for b in listed),
        }
    ).encode()
    sha256 = hashlib.sha256(data).hexdigest()
    file = certificate_file(last + 1, sha256)
    files.write(signature_file(file), signer.sign(data), "application/octet-stream")
    files.write(file, data, "application/json")
    return Signed(file, sha256)


def _last(files: StoredFiles) -> tuple[int, list[bytes]]:
    """Return the highest number, and the certificates that have it."""
    numbers = {name: number for name in files.names() if (number := certificate_number(name))}
    last = max(numbers.values(), default=0)
    found = (files.read(name) for name, number in numbers.items() if number == last)
    return last, [data for data in found if data is not None]
