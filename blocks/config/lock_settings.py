"""The settings of locked buckets and of keys that may do little."""

from __future__ import annotations

from typing import Annotated

from pydantic import BaseModel

from blocks.config.says import Rule, Says
from blocks.config.values import RetentionDays
from blocks.s3.terms import Credentials, LockMode, Pruner, ServerSideEncryption, Terms


class LockSettings(BaseModel):
    """Locked buckets, and keys that may do little: see [locks](locks.md)."""

    s3_object_lock_days: Annotated[RetentionDays | None, Says(
        "Lock each object for this many days from the moment it is written. The bucket must have been created with Object Lock.", "14"
    )] = None  # fmt: skip
    s3_object_lock_mode: Annotated[LockMode, Rule("it must be governance or compliance"), Says(
        "`governance`: those with a special right can end the lock. `compliance`: nobody can, the account's owner included.", "compliance"
    )] = "governance"  # fmt: skip
    s3_sse: Annotated[ServerSideEncryption | None, Rule("it must be AES256 or aws:kms"), Says(
        "Ask the storage to encrypt each object: `AES256` or `aws:kms`. If unset, the bucket's own setting applies.", "aws:kms"
    )] = None  # fmt: skip
    s3_sse_kms_key_id: Annotated[str | None, Says(
        "With `S3_SSE=aws:kms`, the key. If unset, it is the account's own for S3.", "arn:aws:kms:eu-central-1:111122223333:key/1234abcd"
    )] = None  # fmt: skip
    s3_credentials: Annotated[Credentials, Rule("it must be keys or sdk"), Says(
        "`sdk`: without `S3_ACCESS_KEY_ID`, keys are [looked for as the AWS SDK does](locks.md#without-keys): `AWS_PROFILE`, web identity, the role of the machine.", "sdk"
    )] = "keys"  # fmt: skip
    prune: Annotated[Pruner, Rule("it must be here or elsewhere"), Says(
        "`elsewhere`: nothing in the bucket is ever deleted by pg-roundtrip; a prune only says [what is due](locks.md#pruneelsewhere).", "elsewhere"
    )] = "here"  # fmt: skip

    @property
    def terms(self) -> Terms:
        """Under which terms objects are written and removed."""
        return Terms(
            self.s3_object_lock_days, self.s3_object_lock_mode, self.s3_sse, self.s3_sse_kms_key_id,
            removes=self.prune == "here",
        )  # fmt: skip
