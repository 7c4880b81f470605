"""How S3-compatible providers differ, as data without code; docs/providers.md has the table."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal, get_args
from urllib.parse import urlsplit

MIB, GIB, GB = 1 << 20, 1 << 30, 10**9

ProviderKey = Literal[
    "aws", "cloudflare", "backblaze", "digitalocean", "minio", "wasabi", "scaleway", "hetzner", "seaweedfs", "other"
]
KEYS: tuple[ProviderKey, ...] = get_args(ProviderKey)


@dataclass(frozen=True)
class Provider:
    """The requirements and limits of a provider.

    `hosts` are suffixes of its endpoints' host names. The region is what the group of `region_in_host` matches at the
    end of a host name, else `region`. With `equal_parts`, all parts of an upload but the last must have the same size.
    With `content_md5`, each upload carries its digest. With `keeps_versions`, a deleted object keeps taking space until
    a lifecycle rule removes it. With `if_none_match`, it refuses to overwrite when asked not to.
    """

    name: str
    key: ProviderKey = "other"
    endpoint: str = "https://s3.example.com"
    hosts: tuple[str, ...] = ()
    addressing_style: Literal["path", "virtual"] = "path"
    max_parts: int = 10_000
    min_part_bytes: int = 5 * MIB
    max_part_bytes: int = 5 * GIB
    equal_parts: bool = False
    content_md5: bool = False
    region_in_host: str = ""
    region: str = "us-east-1"
    keeps_versions: bool = False
    if_none_match: bool = False


# Where a provider documents 5 GB, take it literally: that is less than 5 GiB.
_PROVIDERS = (
    # AWS rejects parts without a digest in buckets with Object Lock. It keeps paths for old buckets only.
    Provider(
        "Amazon S3", "aws", "https://s3.eu-central-1.amazonaws.com", (".amazonaws.com", ".amazonaws.com.cn"),
        addressing_style="virtual", content_md5=True, if_none_match=True,
        region_in_host=r"s3(?:-fips)?[.-](?:dualstack\.)?([a-z]{2}(?:-[a-z]+)+-\d+)\.(?:vpce\.)?amazonaws\.com(?:\.cn)?",
    ),
    # R2: all parts but the last must have the same size. Its only region is `auto`. It rejects checksums in trailers.
    Provider(
        "Cloudflare R2", "cloudflare", "https://0123456789abcdef0123456789abcdef.r2.cloudflarestorage.com",
        (".r2.cloudflarestorage.com",), equal_parts=True, region="auto",
    ),
    # B2: "Unsupported header 'x-amz-sdk-checksum-algorithm'", and with Object Lock "Missing required header for this
    # request: Content-MD5". By default it keeps all versions of a file forever.
    Provider(
        "Backblaze B2", "backblaze", "https://s3.us-west-004.backblazeb2.com", (".backblazeb2.com",),
        max_part_bytes=5 * GB, content_md5=True, region_in_host=r"s3\.([a-z]+(?:-[a-z]+)+-\d+)\.backblazeb2\.com",
        keeps_versions=True,
    ),
    Provider(
        "DigitalOcean Spaces", "digitalocean", "https://fra1.digitaloceanspaces.com", (".digitaloceanspaces.com",),
        addressing_style="virtual", max_part_bytes=5 * GB, region_in_host=r"([a-z]{3}\d)\.digitaloceanspaces\.com",
    ),
    # MinIO: bucket names in the host name need a domain that the server is configured with.
    Provider("MinIO", "minio", "https://minio.example.com:9000"),
    # Wasabi: "Checksum Type mismatch occurred, expected checksum Type: null", and with Object Lock it needs a digest,
    # like AWS. Its short aliases contain no region.
    Provider(
        "Wasabi", "wasabi", "https://s3.eu-central-1.wasabisys.com", (".wasabisys.com",),
        max_part_bytes=5 * GB, content_md5=True, region_in_host=r"s3\.([a-z]{2}-[a-z]+-\d)\.wasabisys\.com",
    ),
    # Scaleway: at most 1,000 parts. It rejects signatures for another region.
    Provider(
        "Scaleway", "scaleway", "https://s3.fr-par.scw.cloud", (".scw.cloud",), addressing_style="virtual",
        max_parts=1_000, max_part_bytes=5 * GB, region_in_host=r"s3\.([a-z]{2}-[a-z]{3})\.scw\.cloud",
    ),
    # Hetzner: Ceph, which rejects checksums in trailers with XAmzContentSHA256Mismatch.
    Provider(
        "Hetzner Object Storage", "hetzner", "https://fsn1.your-objectstorage.com", (".your-objectstorage.com",),
        addressing_style="virtual", region_in_host=r"([a-z]{3}\d)\.your-objectstorage\.com",
    ),
    # SeaweedFS: older versions silently store a trailer as part of the object.
    Provider("SeaweedFS", "seaweedfs", "http://seaweedfs.example.com:8333"),
)  # fmt: skip
OTHER = Provider("S3-compatible storage", max_part_bytes=5 * GB)
PROVIDERS = (*_PROVIDERS, OTHER)


def provider_of(endpoint: str, key: ProviderKey | None = None) -> Provider:
    """Return the provider for a key, else the one recognised by the endpoint's host name."""
    if key:
        return next(p for p in PROVIDERS if p.key == key)
    host = urlsplit(endpoint).hostname or ""
    return next((p for p in PROVIDERS if host.endswith(p.hosts)), OTHER)


def region_in(provider: Provider, endpoint: str) -> str | None:
    """Return the region in the endpoint's host name, if there is one."""
    host = urlsplit(endpoint).hostname or ""
    found = provider.region_in_host and re.search(rf"(?:^|\.){provider.region_in_host}$", host)
    return found[1] if found else None


def part_size_bytes(provider: Provider, expected_bytes: int, wanted_bytes: int = 8 * MIB) -> int:
    """Choose a part size with which an object of the expected size fits the provider's part limit.

    A dump's size is not known in advance, so half of the parts are kept in reserve, or three quarters if later parts
    cannot grow. The result is a multiple of 1 MiB, at least `wanted_bytes`, and never more than the provider accepts.
    """
    reserve = 4 if provider.equal_parts else 2
    needed = -(-reserve * expected_bytes // provider.max_parts)
    rounded = -(-max(needed, wanted_bytes, provider.min_part_bytes) // MIB) * MIB
    return min(rounded, provider.max_part_bytes // MIB * MIB)


def next_part_size_bytes(provider: Provider, part_bytes: int, number: int) -> int:
    """Return the size of the parts after this one: it grows once an object has used half of the provider's parts."""
    late = number >= provider.max_parts // 2 and number % max(1, provider.max_parts // 10) == 0
    if not late or provider.equal_parts:
        return part_bytes
    return min(2 * part_bytes, max(part_bytes, provider.max_part_bytes // MIB * MIB))
