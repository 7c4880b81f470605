"""A storage's response tells whether a retry can help, and what to do."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from botocore.exceptions import ClientError

from blocks.errors import UPLOAD, BucketMissing, ObjectMissing, StorageDenied, StorageError, StorageUnreachable
from blocks.s3.errors import translated
from blocks.s3.session import moment_in

ANSWERS: dict[tuple[int, str], tuple[type[StorageError], str]] = {
    (500, "InternalError"): (StorageUnreachable, "the next interval"),
    (503, "SlowDown"): (StorageUnreachable, "the next interval"),
    (429, "TooManyRequests"): (StorageUnreachable, "the next interval"),
    (400, "RequestTimeout"): (StorageUnreachable, "the next interval"),
    (403, "AccessDenied"): (StorageDenied, "S3_ACCESS_KEY_ID"),
    (403, "RequestTimeTooSkewed"): (StorageDenied, "clock"),
    (400, "AuthorizationHeaderMalformed"): (StorageDenied, "S3_REGION"),
    (404, "NoSuchBucket"): (BucketMissing, "create the bucket"),
    (404, "NoSuchKey"): (ObjectMissing, "pg-roundtrip list"),
    (400, "InvalidArgument"): (StorageError, "refused"),
}


@pytest.mark.parametrize("answer", ANSWERS)
def test_what_a_storage_answers(answer: tuple[int, str]) -> None:
    """Only transient errors are retried, and the hint fits the response."""
    (status, code), (expected, hint) = answer, ANSWERS[answer]
    with pytest.raises(StorageError) as raised, translated(UPLOAD, "key"):
        raise ClientError({"Error": {"Code": code}, "ResponseMetadata": {"HTTPStatusCode": status}}, "PutObject")
    assert type(raised.value) is expected
    assert raised.value.transient is (expected is StorageUnreachable)
    assert hint in raised.value.hint


@pytest.mark.parametrize("text", [
    "2026-11-21T12:00:00.000Z", "2026-11-21T12:00:00Z", "2026-11-21T13:00:00+01:00", "20261121T120000Z",
    "Sat, 21 Nov 2026 12:00:00 GMT", "1795262400",
])  # fmt: skip
def test_times_in_responses(text: str) -> None:
    """A time is understood in every way in which storages write it."""
    assert moment_in(text) == datetime(2026, 11, 21, 12, tzinfo=UTC)
