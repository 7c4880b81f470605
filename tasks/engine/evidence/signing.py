"""Add a certificate to the chain: number it, name those before it, sign it, store it."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import timedelta

from tasks.engine.evidence.certificate import Certificate, Listed
from tasks.engine.evidence.end import End, read_end
from tasks.engine.evidence.files import StoredFiles
from tasks.engine.evidence.keys import Signer
from tasks.engine.repository.catalog import Backup
from tasks.engine.repository.names import certificate_file, signature_file

# A backup is listed when its dump ends, which can be long after the moment in its name.
_LONG_DUMP = timedelta(days=1)


@dataclass(frozen=True)
class Signed:
    """A certificate that was stored; `strange` are files that look like later ones, and are none of this chain."""

    file: str
    sha256: str
    strange: tuple[str, ...] = ()


def sign(files: StoredFiles, signer: Signer, stated: Certificate, backups: Iterable[Backup]) -> Signed:
    """Store a certificate as the last of the chain, its signature first.

    It names all with the highest number, for two that end at once take the same one. Raises ValueError if it has no
    canonical form.
    """
    end = read_end(files, signer.public)
    data = stated.model_copy(
        update={
            "number": end.number + 1,
            "previous": tuple(sorted(known.sha256 for known in end.last)),
            "key": signer.public.fingerprint,
            "backups": tuple(Listed(name=b.name, object_bytes=b.object_bytes) for b in _untold(backups, end)),
        }
    ).encode()
    sha256 = hashlib.sha256(data).hexdigest()
    file = certificate_file(end.number + 1, sha256)
    files.write(signature_file(file), signer.sign(data), "application/octet-stream")
    files.write(file, data, "application/json")
    return Signed(file, sha256, end.strange)


def _untold(backups: Iterable[Backup], end: End) -> list[Backup]:
    """Return the backups that the last certificates may not list."""
    since = min((known.certificate.started_at for known in end.last), default=None)
    return [b for b in backups if since is None or since - b.taken_at <= _LONG_DUMP]
