"""Translate botocore's errors into our error family, with the specification's sentence for each operation."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from botocore import exceptions as boto

from blocks.errors import (
    BucketMissing,
    ObjectMissing,
    Operation,
    StorageDenied,
    StorageError,
    StorageTimeout,
    StorageUnreachable,
)

_DENIED = {"AccessDenied", "InvalidAccessKeyId", "SignatureDoesNotMatch", "403", "Forbidden", "ExpiredToken",
           "InvalidToken", "AccountProblem", "AllAccessDisabled", "AuthorizationHeaderMalformed"}  # fmt: skip
_WRONG_KEYS = {"InvalidAccessKeyId", "SignatureDoesNotMatch", "ExpiredToken", "InvalidToken"}
_TRANSIENT = {"500", "502", "503", "504", "429", "InternalError", "SlowDown", "ServiceUnavailable",
              "RequestTimeout", "BadDigest", "ConditionalRequestConflict", "TooManyRequests", "Throttling"}  # fmt: skip
# The provider does not implement the request, so a retry cannot help.
_NOT_IMPLEMENTED = 501
_PRECONDITION_FAILED = 412
_NO_KEYS = (
    boto.NoCredentialsError, boto.PartialCredentialsError, boto.CredentialRetrievalError, boto.ProfileNotFound,
    boto.SSOError, boto.TokenRetrievalError, boto.ConfigNotFound, boto.ConfigParseError,
)  # fmt: skip
_LOOK_FOR_KEYS = "the AWS SDK finds no keys that it can use: check AWS_PROFILE, its files, or the role of this machine"
# Hints for requests that were denied for other reasons than wrong keys.
_OTHER_REASONS = {
    "AuthorizationHeaderMalformed": "set S3_REGION to the region of the bucket",
    "RequestTimeTooSkewed": "correct the clock here, or the storage's: they differ by more than it allows",
}


class EmptyRange(Exception):
    """The requested range starts at the end of the object: there is nothing left to read."""


class AlreadyThere(Exception):
    """An object has the name that was to be new; with `attempts` before this one, it may be this very object."""

    def __init__(self, attempts: int) -> None:
        super().__init__()
        self.attempts = attempts


@contextmanager
def translated(during: Operation, context: str) -> Iterator[None]:
    """Translate botocore's errors into ours; `during` is the requested operation."""
    try:
        yield
    except boto.ClientError as error:
        raise _translate_answer(error, during, context) from None
    except (boto.ConnectTimeoutError, boto.ReadTimeoutError):
        raise StorageTimeout(f"{during.message}: {context}") from None
    except boto.SSLError as error:
        raise _translate_tls(str(error), during, context) from None
    except (boto.HTTPClientError, boto.ConnectionError, boto.IncompleteReadError, OSError) as error:
        raise StorageUnreachable(f"{context}: {type(error).__name__}", during=during) from None
    except _NO_KEYS as error:
        raise StorageDenied(f"{during.message}: {context}: {type(error).__name__}", hint=_LOOK_FOR_KEYS) from None
    except boto.BotoCoreError as error:
        raise StorageError(f"{context}: {type(error).__name__}", during=during) from None


def _translate_tls(said: str, during: Operation, context: str) -> StorageError:
    """Treat a rejected certificate as permanent, and any other TLS error as a broken connection."""
    if "certificate" not in said.lower():
        return StorageUnreachable(f"{context}: SSLError", during=during)
    hint = "check S3_ENDPOINT; for a private CA, set AWS_CA_BUNDLE to the file with its certificate"
    return StorageError(f"{context}: its certificate is not accepted", during=during, hint=hint)


def _translate_answer(error: boto.ClientError, during: Operation, context: str) -> Exception:
    code = str(error.response.get("Error", {}).get("Code", ""))
    status = int(error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0))
    if code in ("InvalidRange", "416"):
        return EmptyRange()
    if code == "PreconditionFailed" or status == _PRECONDITION_FAILED:
        return AlreadyThere(int(error.response.get("ResponseMetadata", {}).get("RetryAttempts", 0)))
    if code in ("NoSuchKey", "NoSuchUpload", "404", "NotFound"):
        return ObjectMissing(context)
    return _refused(code, status, during, context)


def _refused(code: str, status: int, during: Operation, context: str) -> StorageError:
    if code == "NoSuchBucket":
        return BucketMissing(f"{context}: the bucket does not exist", during=during)
    if code in _DENIED or status == 403:
        denied = StorageDenied(f"{during.message}: {context}: {code}", hint=_OTHER_REASONS.get(code))
        denied.wrong_keys = code in _WRONG_KEYS
        return denied
    if code in _TRANSIENT or status == 429 or (status >= 500 and status != _NOT_IMPLEMENTED):
        return StorageUnreachable(f"{context}: {code}", during=during)
    return StorageError(f"{context}: {code}", during=during, hint="the storage refused the request with this code")
