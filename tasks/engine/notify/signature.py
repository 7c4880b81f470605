"""Sign what is posted as Standard Webhooks says (https://www.standardwebhooks.com): its libraries verify it."""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
from datetime import datetime

_PREFIX = "whsec_"


def signed(secret: str, identity: str, moment: datetime, body: bytes) -> dict[str, str]:
    """Return the headers that say when a message was sent, and prove by whom."""
    stamp = str(int(moment.timestamp()))
    digest = hmac.digest(_key(secret), f"{identity}.{stamp}.".encode() + body, hashlib.sha256)
    return {"webhook-timestamp": stamp, "webhook-signature": f"v1,{base64.b64encode(digest).decode()}"}


def _key(secret: str) -> bytes:
    """Return the key of a secret: base64 after the prefix, or the text as it is."""
    if secret.startswith(_PREFIX):
        try:
            return base64.b64decode(secret.removeprefix(_PREFIX), validate=True)
        except binascii.Error:
            pass
    return secret.encode()
