"""A storage's response tells whether a retry can help, and what to do."""

from __future__ import annotations

import pytest
from botocore.exceptions import ClientError

from blocks.errors import UPLOAD, BucketMissing, ObjectMissing, StorageDenied, StorageError, StorageUnreachable
from blocks.s3.errors import translated

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
