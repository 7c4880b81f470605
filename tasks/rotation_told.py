"""Tell what a change of keys needs: what to set, and which kept backups only old keys open."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from blocks.config.age_keys import Recipient, recipient_in
from blocks.config.plan import Plan
from blocks.errors import ConfigurationError, Problem
from tasks.engine.repository.checks import counted
from tasks.engine.repository.rotation import OtherKeys
from tasks.engine.wording import iso
from tasks.rekey import rotation

_FORMS = (
    "give age1…, ssh-ed25519 … or ssh-rsa …; `pg-roundtrip key new --out FILE` makes a key and prints its public one"
)


def told(plan: Plan, add: Sequence[str], remove: Sequence[str]) -> Iterator[str]:
    """Yield the lines; raises ConfigurationError for a key that can't be read, or isn't there to be removed."""
    now = plan.encryption.recipients
    if add or remove:
        wanted = _changed(now, add, remove)
        yield "Set this where backups are made:"
        yield f"BACKUP_AGE_RECIPIENTS={','.join(found.text for found in wanted)}"
        if len(wanted) < 2:
            yield "WARNING: with one recipient, one lost key loses every backup"
    else:
        yield "New backups are encrypted to:" if now else "New backups are not encrypted"
        yield from (f"  {found.text}  {found.fingerprint}" for found in now)
    for label, found in rotation(plan):
        unknown = f"; of {found.unknown} it is not known" if found.unknown else ""
        yield f"{label}{counted(found.opened, 'kept backup')} can be opened with today's keys{unknown}"
        for other in found.others:
            yield from _other(label, other)


def _other(label: str, other: OtherKeys) -> Iterator[str]:
    until = f"retention has removed them by {iso(other.until)}" if other.until else "retention sets no end to them"
    yield f"{label}{counted(len(other.backups), 'kept backup')} only with {' or '.join(other.keys)}"
    yield f"  from {other.backups[0].name} to {other.backups[-1].name}; {until}"
    yield "  keep that private key until then, or give them today's keys: pg-roundtrip key rekey"


def _changed(now: Sequence[Recipient], add: Sequence[str], remove: Sequence[str]) -> list[Recipient]:
    try:
        found = {key.fingerprint: key for key in (*now, *map(recipient_in, add))}
        gone = {text if text.startswith("SHA256:") else recipient_in(text).fingerprint for text in remove}
    except ValueError as error:
        raise ConfigurationError([Problem(f"This is no public key: {error}", _FORMS)]) from None
    if unknown := gone - found.keys():
        raise ConfigurationError([Problem(f"{', '.join(sorted(unknown))} is no recipient", "see `key rotate` alone")])
    if not found.keys() - gone:
        raise ConfigurationError([Problem("No recipient would be left", "add another key with --add")])
    return [key for fingerprint, key in found.items() if fingerprint not in gone]
