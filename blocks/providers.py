"""Know how S3-compatible providers differ: a few data fields each, and no code."""

from __future__ import annotations

from dataclasses import dataclass
from urllib.parse import urlsplit

MIB = 1 << 20


@dataclass(frozen=True)
class Provider:
    """What a request to a provider must respect."""

    name: str
    hosts: tuple[str, ...] = ()
    addressing_style: str = "path"
    max_parts: int = 10_000
    min_part_bytes: int = 5 * MIB
    max_part_bytes: int = 5 * 1024 * MIB


_PROVIDERS = (
    Provider("Amazon S3", hosts=(".amazonaws.com",), addressing_style="virtual"),
    Provider("Cloudflare R2", hosts=(".r2.cloudflarestorage.com",)),
    Provider("Backblaze B2", hosts=(".backblazeb2.com",)),
    Provider("DigitalOcean Spaces", hosts=(".digitaloceanspaces.com",), addressing_style="virtual"),
    Provider("Wasabi", hosts=(".wasabisys.com",)),
    Provider("Scaleway", hosts=(".scw.cloud",), max_parts=1_000),
)
OTHER = Provider("S3-compatible storage")


def provider_of(endpoint: str) -> Provider:
    """Recognise the provider by the endpoint's host; any other S3-compatible storage is addressed by path."""
    host = urlsplit(endpoint).hostname or ""
    return next((p for p in _PROVIDERS if host.endswith(p.hosts)), OTHER)


def part_size_bytes(provider: Provider, expected_bytes: int, wanted_bytes: int = 8 * MIB) -> int:
    """Choose the part size with which an object of the expected size fits the provider's part limit.

    Every part but the last has this size (some providers insist on equal parts). A dump's length is not known
    beforehand, so half of the parts are kept in reserve. A multiple of 1 MiB, at least `wanted_bytes`.
    """
    needed = -(-2 * expected_bytes // provider.max_parts)
    rounded = -(-max(needed, wanted_bytes, provider.min_part_bytes) // MIB) * MIB
    return min(rounded, provider.max_part_bytes)
