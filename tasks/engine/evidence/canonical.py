"""Write JSON in one way only, so that the same facts always have the same bytes, hash and signature."""

from __future__ import annotations

import json
from typing import Any

# Above this, JavaScript and many JSON libraries round.
_MOST = (1 << 53) - 1


def canonical(document: Any) -> bytes:
    """Encode a document as RFC 8785 says: sorted keys, no spaces, UTF-8.

    Numbers are whole and names of fields are ASCII, because only then all libraries agree. Raises ValueError for
    anything else.
    """
    _check(document)
    return json.dumps(document, ensure_ascii=False, sort_keys=True, separators=(",", ":")).encode()


def _check(value: Any) -> None:
    if isinstance(value, dict):
        if not all(isinstance(name, str) and name.isascii() for name in value):
            raise ValueError("a field's name is not ASCII")
        for each in value.values():
            _check(each)
    elif isinstance(value, list):
        for each in value:
            _check(each)
    elif not isinstance(value, bool | str | None) and not (isinstance(value, int) and abs(value) <= _MOST):
        raise ValueError("a value is neither text nor a whole number below 2**53")
