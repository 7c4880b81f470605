"""The settings of evidence."""

from __future__ import annotations

from typing import Annotated

from pydantic import BaseModel, Field

from blocks.config.says import Says
from blocks.config.values import Seconds, SigningKey


class EvidenceSettings(BaseModel):
    """Whether drills and restores are signed, and the targets of the monthly report."""

    evidence_key: Annotated[SigningKey | None, Says(
        "The Ed25519 private key that signs a certificate of each drill and each restore: PEM, or its base64 in one line. "
        "`pg-roundtrip evidence key` makes one. If unset, nothing is signed.",
        "MC4CAQAwBQYDK2VwBCIEIAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA",
    )] = None  # fmt: skip
    evidence_key_file: Annotated[str | None, Says(
        "A file with that key, if `EVIDENCE_KEY` is not set.", "/run/secrets/evidence.pem"
    )] = None  # fmt: skip
    rpo_target_s: Annotated[Seconds | None, Says(
        "The recovery point objective in seconds, 60 or more: the longest time between two backups that the report accepts.", "7200"
    )] = Field(default=None, validation_alias="RPO_TARGET")  # fmt: skip
    rto_target_s: Annotated[Seconds | None, Says(
        "The recovery time objective in seconds, 60 or more: the longest restore that the report accepts.", "14400"
    )] = Field(default=None, validation_alias="RTO_TARGET")  # fmt: skip
