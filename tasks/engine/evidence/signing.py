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

    It names all with the highest number, for two that end at once take the same one. If it was stored before, by an
    attempt whose response was lost, nothing is added. Raises ValueError if it has no canonical form.
    """
    stated = stated.model_copy(update={"folder": files.address})
    end = read_end(files, signer.public, stated)
    if end.told and _states_the_same(end.told.certificate, stated):
        return Signed(end.told.file, end.told.sha256, end.strange)
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


def _states_the_same(made: Certificate, stated: Certificate) -> bool:
    """Whether a certificate is of the very same run: only its place in the chain makes a difference."""
    place = {"number": made.number, "previous": made.previous, "key": made.key, "backups": made.backups}
    return stated.model_copy(update=place).encode() == made.encode()


def _untold(backups: Iterable[Backup], end: End) -> list[Backup]:
    """Return the backups that no certificate of their database may list yet: in a shared folder, others don't."""
    since = end.told.certificate.started_at if end.told else None
    return [b for b in backups if since is None or since - b.taken_at <= _LONG_DUMP]
