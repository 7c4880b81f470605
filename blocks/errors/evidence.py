"""Errors about evidence."""

from __future__ import annotations

from blocks.errors.base import PgRoundtripError


class EvidenceBroken(PgRoundtripError):
    """A certificate is missing, changed or not signed by a known key, or none can be read."""

    message = "The evidence does not hold"
    code = "PGR-EVIDENCE"
    cause = "evidence"
    hint = "docs/evidence.md says what each finding means"
