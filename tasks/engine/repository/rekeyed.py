"""While a backup gets other keys, its manifest describes both objects, and the object's size tells which is there.

So at every moment what is listed can be read, also when a run is killed: first the manifest says what the object
will be, then the object is replaced, then the manifest says what it is.
"""

from __future__ import annotations

import json
from typing import Any

REKEYED = "rekeyed"


def settled(document: bytes, object_bytes: int) -> bytes:
    """Return the manifest of the object that has this size: itself, unless its backup is getting other keys."""
    if f'"{REKEYED}"'.encode() not in document:
        return document
    try:
        read = json.loads(document)
    except ValueError:
        return document  # whoever decodes it says what is wrong
    if not isinstance(read, dict) or not isinstance(read.get(REKEYED), dict):
        return document
    return encoded(_settled(read, object_bytes))


def _settled(read: dict[str, Any], object_bytes: int) -> dict[str, Any]:
    changed = read[REKEYED]
    old = {name: value for name, value in read.items() if name != REKEYED}
    return {**old, **changed} if changed.get("object_bytes") == object_bytes else old


def announcing(document: bytes, changed: dict[str, Any]) -> bytes:
    """Return the manifest that also says what will change once the object has its new header."""
    return encoded({**json.loads(document), REKEYED: changed})


def changed_by(document: bytes, changed: dict[str, Any]) -> bytes:
    """Return the manifest with what has changed."""
    return encoded({**json.loads(document), **changed})


def encoded(document: dict[str, Any]) -> bytes:
    """Encode a document as all of ours."""
    return json.dumps(document, indent=1, ensure_ascii=False).encode() + b"\n"
