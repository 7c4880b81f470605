"""Turn what botocore raises into our family of errors, with the specification's sentence for the operation."""

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
_TRANSIENT = {"500", "502", "503", "504", "429", "InternalError", "SlowDown", "ServiceUnavailable",
              "RequestTimeout", "BadDigest", "TooManyRequests", "Throttling"}  # fmt: skip
# A request that a provider does not know: it never will while this run lasts.
_NOT_IMPLEMENTED = 501
# Where a request is denied, and the keys are not what is wrong.
_OTHER_REASONS = {
    "AuthorizationHeaderMalformed": "set S3_REGION to the region of the bucket",
    "RequestTimeTooSkewed": "set the clock here, or the storage's: they differ by more than it allows",
}


class EmptyRange(Exception):
    """The wanted range begins at the end of the object: there is nothing more to read."""


@contextmanager
def translated(during: Operation, context: str) -> Iterator[None]:
    """Turn botocore's errors into ours; `during` is what was asked."""
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
    except boto.BotoCoreError as error:
        raise StorageError(f"{context}: {type(error).__name__}", during=during) from None


def _translate_tls(said: str, during: Operation, context: str) -> StorageError:
    """A certificate that is not accepted will not be the next time; whatever else befalls TLS is a broken connection."""
    if "certificate" not in said.lower():
        return StorageUnreachable(f"{context}: SSLError", during=during)
    hint = "check S3_ENDPOINT; for an authority of your own, name the file with its certificate in AWS_CA_BUNDLE"
    return StorageError(f"{context}: its certificate is not accepted", during=during, hint=hint)


def _translate_answer(error: boto.ClientError, during: Operation, context: str) -> Exception:
    code = str(error.response.get("Error", {}).get("Code", ""))
    status = int(error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0))
    if code in ("InvalidRange", "416"):
        return EmptyRange()
    if code == "NoSuchBucket":
        return BucketMissing(f"{context}: the bucket does not exist", during=during)
    if code in ("NoSuchKey", "NoSuchUpload", "404", "NotFound"):
        return ObjectMissing(context)
    if code in _DENIED or status == 403:
        return StorageDenied(f"{during.message}: {context}: {code}", hint=_OTHER_REASONS.get(code))
    if code in _TRANSIENT or status == 429 or (status >= 500 and status != _NOT_IMPLEMENTED):
        return StorageUnreachable(f"{context}: {code}", during=during)
    return StorageError(f"{context}: {code}", during=during, hint="the storage refused the request with this code")
