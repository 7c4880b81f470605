"""State under which terms a storage keeps what we write: locked until when, encrypted by whom, removed by whom."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Literal

# Where keys come from: they are given, or the SDK looks for them on this machine.
Credentials = Literal["keys", "sdk"]
LockMode = Literal["governance", "compliance"]
# Who removes old backups: a prune, or a lifecycle rule of the bucket.
Pruner = Literal["here", "elsewhere"]
ServerSideEncryption = Literal["AES256", "aws:kms"]


@dataclass(frozen=True)
class Terms:
    """What is asked for each object; by default nothing, and then the bucket's own settings apply.

    Nothing of ours is removed by us without `removes`: a lifecycle rule of the bucket does it.
    """

    lock_days: int | None = None
    lock_mode: LockMode = "governance"
    encryption: ServerSideEncryption | None = None
    kms_key_id: str | None = None
    removes: bool = True

    def encrypted(self) -> dict[str, Any]:
        """Return what a request says about encryption by the storage."""
        if self.encryption is None:
            return {}
        key = {"SSEKMSKeyId": self.kms_key_id} if self.kms_key_id and self.encryption == "aws:kms" else {}
        return {"ServerSideEncryption": self.encryption, **key}

    def kept(self, now: datetime) -> dict[str, Any]:
        """Return what a request says about an object that is written once: encryption, and the lock from now on."""
        if self.lock_days is None:
            return self.encrypted()
        until = now + timedelta(days=self.lock_days)
        lock = {"ObjectLockMode": self.lock_mode.upper(), "ObjectLockRetainUntilDate": until}
        return {**self.encrypted(), **lock}


@dataclass(frozen=True)
class Hold:
    """A lock on an object: until when, in which mode; `legal` holds have no end."""

    until: datetime | None = None
    mode: str = ""
    legal: bool = False

    def holds(self, now: datetime) -> bool:
        """Whether the object can't be removed now."""
        return self.legal or (self.until is not None and self.until > now)


def hold_in(answer: dict[str, Any]) -> Hold | None:
    """Return the lock that the answer to a HEAD request tells of; None if it tells of none."""
    until, legal = answer.get("ObjectLockRetainUntilDate"), answer.get("ObjectLockLegalHoldStatus") == "ON"
    if not legal and not isinstance(until, datetime):
        return None
    return Hold(until if isinstance(until, datetime) else None, str(answer.get("ObjectLockMode", "")).lower(), legal)
