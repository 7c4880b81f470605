"""On the wire, every request that we send is one that the provider accepts."""

from __future__ import annotations

import hashlib
import re
from base64 import b64encode
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import cache
from io import BytesIO
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
from botocore.awsrequest import AWSPreparedRequest, AWSResponse
from pydantic import SecretStr

from blocks.s3.client import ObjectStore
from blocks.s3.providers import OTHER, PROVIDERS, Provider, ProviderKey, region_in
from blocks.storage import BackupStorage

KEY = "backups/backup_20261121_020713.sql.gz"
BODY = b"some bytes of a dump"
# Any sign of the newer SDKs' own checksums, which several providers reject.
CHECKSUMS = re.compile(r"x-amz-(checksum-.*|sdk-checksum-algorithm|trailer|decoded-content-length)")
_XML = '<{0} xmlns="http://s3.amazonaws.com/doc/2006-03-01/">{1}</{0}>'
_ANSWERS = {
    ("POST", "uploads"): _XML.format("InitiateMultipartUploadResult", "<UploadId>u1</UploadId>"),
    ("POST", "uploadId"): _XML.format("CompleteMultipartUploadResult", "<ETag>e</ETag>"),
    ("GET", "list-type"): _XML.format("ListBucketResult", "<IsTruncated>false</IsTruncated>"),
    ("GET", "uploads"): _XML.format("ListMultipartUploadsResult", "<IsTruncated>false</IsTruncated>"),
}


class _Raw(BytesIO):
    """What botocore reads a response from."""

    def stream(self, *_: Any, **__: Any) -> Iterator[bytes]:
        yield self.read()


@dataclass
class Wire:
    """A storage whose requests are captured here and sent no further."""

    storage: ObjectStore
    sent: list[AWSPreparedRequest] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.storage.client.meta.events.register("before-send.s3", self._answer)

    def _answer(self, request: AWSPreparedRequest, **_: Any) -> AWSResponse:
        self.sent.append(request)
        query = parse_qs(urlsplit(request.url).query, keep_blank_values=True)
        found = next((text for (verb, name), text in _ANSWERS.items() if verb == request.method and name in query), "")
        body = found.encode() or (BODY if request.method == "GET" else b"")
        headers = {"ETag": '"e"', "Content-Length": str(len(body)), "Last-Modified": "Sat, 21 Nov 2026 02:07:13 GMT"}
        return AWSResponse(request.url, 206 if "Range" in request.headers else 200, headers, _Raw(body))


def storage_of(
    provider: Provider, *, bucket: str = "my-bucket", region: str | None = None, key: ProviderKey | None = None
) -> ObjectStore:
    """Return a storage as in the provider's example, with its name where the host doesn't reveal the provider."""
    return ObjectStore.at(
        endpoint=provider.endpoint, bucket=bucket, prefix="backups", key_id="KEYID", secret=SecretStr("s"),
        region=region, provider=key or (None if provider.hosts else provider.key),
    )  # fmt: skip


@cache
def wire_to(provider: Provider) -> Wire:
    """Return a shared storage for tests that only send: creating a client is slow."""
    return Wire(storage_of(provider))


REQUESTS: dict[str, tuple[str, Callable[[ObjectStore], object]]] = {
    "put": ("PUT", lambda s: s.put(KEY, BODY)),
    "begin": ("POST", lambda s: s.begin_upload(KEY)),
    "part": ("PUT", lambda s: s.put_part(KEY, "u1", 1, BODY)),
    "part from a file": ("PUT", lambda s: s.put_part(KEY, "u1", 1, BytesIO(BODY))),
    "complete": ("POST", lambda s: s.complete_upload(KEY, "u1", ["e"])),
    "abort": ("DELETE", lambda s: s.abort_upload(KEY, "u1")),
    "list": ("GET", lambda s: list(s.list_objects())),
    "list uploads": ("GET", lambda s: s.list_uploads(timedelta(0), datetime.now(UTC))),
    "get": ("GET", lambda s: s.get(KEY)),
    "range": ("GET", lambda s: list(s.open_range(KEY, 2, len(BODY)))),
    "stat": ("HEAD", lambda s: s.stat(KEY)),
    "delete": ("DELETE", lambda s: s.remove(KEY)),
}
UPLOADS = ("put", "part", "part from a file")


@pytest.mark.parametrize("what", REQUESTS)
@pytest.mark.parametrize("provider", PROVIDERS, ids=lambda p: p.key)
def test_every_request_is_one_that_the_provider_takes(provider: Provider, what: str) -> None:
    """Host, path, region and checksums follow the profile in every kind of request that we send."""
    verb, send = REQUESTS[what]
    wire = wire_to(provider)
    wire.sent.clear()
    send(wire.storage)
    assert [request.method for request in wire.sent] == [verb]
    request = wire.sent[0]
    url, endpoint = urlsplit(request.url), urlsplit(provider.endpoint)
    path = "" if what.startswith("list") else f"/{KEY}"
    if provider.addressing_style == "virtual":
        assert (url.netloc, url.path) == (f"my-bucket.{endpoint.netloc}", path or "/")
    else:
        assert (url.netloc, url.path) == (endpoint.netloc, f"/my-bucket{path}")
    assert url.scheme == endpoint.scheme
    assert region_signed_for(request) == (region_in(provider, provider.endpoint) or provider.region)
    names = {name.lower() for name in request.headers}
    assert not {name for name in names if CHECKSUMS.fullmatch(name)}
    assert "aws-chunked" not in encodings(request)
    assert ("content-md5" in names) == (provider.content_md5 and what in UPLOADS)
    assert not {name for name in names if name.startswith(("x-amz-acl", "x-amz-grant"))}
    assert "expected-bucket-owner" not in str(names)


def region_signed_for(request: AWSPreparedRequest) -> str:
    """Return the region in the credential scope of a request's signature."""
    signed = request.headers["Authorization"]
    found = re.search(r"Credential=KEYID/\d{8}/([^/]+)/s3/aws4_request", signed.decode())
    assert found
    return found[1]


def encodings(request: AWSPreparedRequest) -> list[str]:
    """Return the content encodings of a request."""
    given = request.headers.get("Content-Encoding") or b""
    return [name.strip() for name in (given.decode() if isinstance(given, bytes) else given).split(",")]


@pytest.mark.parametrize("what", UPLOADS)
@pytest.mark.parametrize("provider", [p for p in PROVIDERS if p.content_md5], ids=lambda p: p.key)
def test_uploads_carry_their_digest(provider: Provider, what: str) -> None:
    """A bucket with Object Lock requires them; the body is complete, even after it was read for the digest."""
    wire = wire_to(provider)
    wire.sent.clear()
    REQUESTS[what][1](wire.storage)
    request = wire.sent[0]
    assert request.headers["Content-MD5"] == b64encode(hashlib.md5(BODY, usedforsecurity=False).digest())
    assert (request.body if isinstance(request.body, bytes) else request.body.read()) == BODY


def test_checksums_of_the_sdk_would_be_seen() -> None:
    """The test above can fail: an unconfigured client does send them, in a trailer."""
    storage = storage_of(PROVIDERS[0])
    storage.config = {"request_checksum_calculation": "when_supported"}
    wire = Wire(storage)
    wire.storage.client.put_object(Bucket="b", Key=KEY, Body=BODY)
    assert {name.lower() for name in wire.sent[0].headers if CHECKSUMS.fullmatch(name.lower())}
    assert encodings(wire.sent[0]) == ["aws-chunked"]


def test_a_range_is_asked_for_as_such() -> None:
    """The range, and the parameters of listings, are part of the requests too."""
    wire = Wire(storage_of(OTHER))
    assert list(wire.storage.open_range(KEY, 2, len(BODY))) == [BODY]
    assert wire.sent[0].headers["Range"] == f"bytes=2-{len(BODY) + 1}".encode()
    list(wire.storage.list_objects())
    query = parse_qs(urlsplit(wire.sent[1].url).query)
    assert (query["list-type"], query["prefix"]) == (["2"], ["backups/"])


def test_a_provider_that_is_named_goes_before_the_host() -> None:
    """A custom domain in front of a storage is addressed as that storage requires."""
    named = storage_of(OTHER, key="cloudflare")
    assert (named.provider.key, named.region, named.provider.equal_parts) == ("cloudflare", "auto", True)
    wire = Wire(storage_of(OTHER, key="scaleway"))
    wire.storage.remove(KEY)
    assert urlsplit(wire.sent[0].url).hostname == "my-bucket.s3.example.com"


def test_a_region_that_is_set_is_kept() -> None:
    """A configured S3_REGION wins, whatever the provider's rule says."""
    assert {storage_of(provider, region="my-region-7").region for provider in PROVIDERS} == {"my-region-7"}
    wire = Wire(storage_of(PROVIDERS[0], region="my-region-7"))
    wire.storage.remove(KEY)
    assert region_signed_for(wire.sent[0]) == "my-region-7"


def test_a_bucket_with_dots_does_not_break_tls() -> None:
    """A certificate for *.example.com doesn't cover my.bucket.example.com: use path-style addressing everywhere."""
    for provider in (p for p in PROVIDERS if p.addressing_style == "virtual"):
        wire = Wire(storage_of(provider, bucket="my.bucket"))
        wire.storage.remove(KEY)
        url = urlsplit(wire.sent[0].url)
        assert (url.netloc, url.path) == (urlsplit(provider.endpoint).netloc, f"/my.bucket/{KEY}")


def test_what_a_block_sets_itself_stays() -> None:
    """The profile only fills in what is unset: a client configuration saved in a block takes precedence."""
    fields: dict[str, Any] = {
        "endpoint": PROVIDERS[0].endpoint,
        "bucket": "my-bucket",
        "prefix": "",
        "key_id": "k",
        "secret": SecretStr("s"),
    }
    block = BackupStorage.at(**fields)
    assert block.bucket
    block.bucket.credentials.aws_client_parameters.config = {"s3": {"addressing_style": "path"}}
    assert isinstance(block.store, ObjectStore)
    wire = Wire(block.store)
    wire.storage.put(KEY, BODY)
    assert urlsplit(wire.sent[0].url).path == f"/my-bucket/{KEY}"
