"""Write what `key new` makes: a file that age reads as its own."""

from __future__ import annotations

from datetime import datetime

from tasks.engine.age.identities import Identity, new_identity
from tasks.engine.wording import iso


def new_key_file(now: datetime) -> tuple[str, Identity]:
    """Make a private key; return the text of its file, and the identity."""
    line, identity = new_identity()
    return f"# created: {iso(now)}\n# public key: {identity.recipient.text}\n{line}\n", identity
