"""Check certificates and the chain they form: each is signed, and has the hashes of those before it."""

from __future__ import annotations

import hashlib
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from itertools import pairwise

from blocks.errors import BackupDamaged
from tasks.engine.evidence.certificate import Certificate, read_certificate
from tasks.engine.evidence.files import SIGNATURE_BYTES, Files
from tasks.engine.evidence.keys import PublicKey
from tasks.engine.repository.checks import counted
from tasks.engine.repository.names import SIGNATURE, certificate_file, certificate_number, signature_file
from tasks.engine.wording import visible

_AT_ONCE = 16
_NAMED = 5
_LONGEST = 200
# How long after its signature a certificate may be missing, also if the clocks of machine and storage differ.
_BEING_WRITTEN = timedelta(minutes=15)


@dataclass(frozen=True)
class Link:
    """One certificate as it was found; `fault` says what is wrong with it alone. Its tables are not kept in memory."""

    file: str
    sha256: str = ""
    certificate: Certificate | None = None
    fault: str = ""

    @property
    def number(self) -> int:
        """Its number, by its name."""
        return certificate_number(self.file) or 0


@dataclass(frozen=True)
class Chain:
    """All certificates by their numbers; what is wrong, and what is only worth knowing."""

    links: tuple[Link, ...] = ()
    faults: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    verified: bool = field(default=False, kw_only=True)

    @property
    def certificates(self) -> list[tuple[Link, Certificate]]:
        """Those that can be relied on."""
        return [(link, link.certificate) for link in self.links if link.certificate and not link.fault]

    @property
    def newest(self) -> Link | None:
        """The last one."""
        return self.links[-1] if self.links else None


def read_chain(files: Files, keys: Sequence[PublicKey], now: datetime, expected: Iterable[str] = ()) -> Chain:
    """Read and check every certificate; without keys, signatures are not checked, which `verified` tells.

    `expected` are the SHA-256 of certificates that must be there: nothing else shows for sure that the newest are
    missing.
    """
    listed = files.listed()
    found = [name for name in listed if certificate_number(name)]
    with ThreadPoolExecutor(_AT_ONCE, "evidence") as pool:
        links = tuple(
            sorted(pool.map(lambda name: _read(files, name, keys), found), key=lambda li: (li.number, li.file))
        )
    hashes = {link.sha256 for link in links}
    alone, being_written = _signatures_alone(listed, now)
    elsewhere, moved = _elsewhere(links, files.address)
    faults = [*(f"{link.file}: {link.fault}" for link in links if link.fault), *_breaks(links), *alone, *elsewhere]
    faults += [f"the certificate with the SHA-256 {each} is missing" for each in expected if each not in hashes]
    return Chain(links, tuple(faults), (*_forks(links), *being_written, *moved), verified=bool(keys))


def _signatures_alone(listed: Mapping[str, datetime | None], now: datetime) -> tuple[list[str], list[str]]:
    """Return the faults and the notes about signatures without their certificate, which is written a moment later."""
    faults, notes = list[str](), list[str]()
    for name in sorted(listed):
        if name.endswith(SIGNATURE) and name.removesuffix(SIGNATURE) + ".json" not in listed:
            stored_at = listed[name]
            if stored_at and now - stored_at < _BEING_WRITTEN:
                notes.append(f"{name} has no certificate yet: a run may be writing it")
            else:
                faults.append(
                    f"{name} has no certificate: one was deleted, or a run was killed before it was certified"
                )
    return faults, notes


def _elsewhere(links: Sequence[Link], address: str) -> tuple[list[str], list[str]]:
    """Return the faults and the notes about certificates of other folders: whole, they could stand in for the true ones."""
    made = [(link, link.certificate.folder) for link in links if link.certificate and not link.fault]
    last = _last_sound(links)
    wrong = [(li, folder) for li, folder in made if address and folder and li.number == last and folder != address]
    faults = [f"{link.file}: it was made in {_shown(folder)}, not in {_shown(address)}" for link, folder in wrong]
    others = Counter(folder for link, folder in made if folder != address and (link, folder) not in wrong)
    notes = [f"{counted(count, 'certificate')} made in {_shown(folder)}" for folder, count in sorted(others.items())]
    return faults, notes


def _shown(folder: str) -> str:
    return visible(folder[:_LONGEST]) or "an unknown folder"


def _read(files: Files, name: str, keys: Sequence[PublicKey]) -> Link:
    try:
        data = files.read(name)
    except BackupDamaged:
        return Link(name, fault="it is too large")
    if data is None:
        return Link(name, fault="it is gone")
    sha256 = hashlib.sha256(data).hexdigest()
    read = read_certificate(data)
    link = Link(name, sha256, _without_tables(read) if read else None)
    if read is None:
        return replace(link, fault="it cannot be read as a certificate")
    if name != certificate_file(read.number, sha256):
        return replace(link, fault="it was changed or renamed: its name does not belong to its contents")
    return replace(link, fault=_signature_fault(files, name, data, read.key, keys) if keys else "")


def _signature_fault(files: Files, name: str, data: bytes, fingerprint: str, keys: Sequence[PublicKey]) -> str:
    try:
        signature = files.read(signature_file(name), SIGNATURE_BYTES)
    except BackupDamaged:
        return "its signature is wrong"
    if signature is None:
        return "its signature is missing"
    known = [key for key in keys if key.fingerprint == fingerprint]
    if not known:
        return f"it names a key that was not given: {fingerprint[:16]}…"
    return "" if any(key.verifies(signature, data) for key in known) else "its signature is wrong"


def _without_tables(certificate: Certificate) -> Certificate:
    return certificate.model_copy(update={"backup": certificate.backup.model_copy(update={"tables": ()})})


def _breaks(links: Sequence[Link]) -> Iterator[str]:
    """Yield what is missing between the certificates."""
    by_number, last_sound = _by_number(links), _last_sound(links)
    for before, after in pairwise([0, *(number for number in sorted(by_number) if number <= last_sound)]):
        if after == before + 2:
            yield f"certificate {before + 1} is missing"
        elif after > before + 2:
            yield f"certificates {before + 1} to {after - 1} are missing"
    for link in links:
        if link.certificate and (fault := _break_before(link.certificate, by_number)):
            yield f"{link.file}: {fault}"


def _break_before(certificate: Certificate, by_number: dict[int, list[Link]]) -> str:
    number, previous = certificate.number, certificate.previous
    if number == 1:
        return "it is the first, but names one before it" if previous else ""
    if not previous:
        return "it names none before it"
    before = {link.sha256 for link in by_number.get(number - 1, ())}
    lost = [each for each in previous if each not in before]
    if lost and before:  # one whose number is missing has been named already
        return f"it names certificate {number - 1} with another SHA-256: {', '.join(each[:16] + '…' for each in lost[:_NAMED])}"
    return ""


def _forks(links: Sequence[Link]) -> Iterator[str]:
    """Yield where two were made at once: both are valid, and usually the next one names both."""
    named = {each for link in links if link.certificate for each in link.certificate.previous}
    last = _last_sound(links)
    for number, same in sorted(_by_number(links).items()):
        if len(same) > 1:
            yield f"{len(same)} certificates have the number {number}: they were made at the same time"
            if number < last:
                yield from (
                    f"{li.file} is named by no later one: its loss would not be seen"
                    for li in same
                    if li.sha256 not in named
                )


def _by_number(links: Iterable[Link]) -> dict[int, list[Link]]:
    found: defaultdict[int, list[Link]] = defaultdict(list)
    for link in links:
        found[link.number].append(link)
    return found


def _last_sound(links: Iterable[Link]) -> int:
    """Return the highest number that a certificate without a fault has: any file can be named with a higher one."""
    return max((link.number for link in links if not link.fault), default=0)
