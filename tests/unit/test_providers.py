"""Whatever the size and the provider, an object fits the parts it may have."""

from __future__ import annotations

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from blocks.providers import _PROVIDERS, MIB, OTHER, Provider, part_size_bytes, provider_of

TB = 10**12


@given(st.integers(0, 5 * TB), st.sampled_from([*_PROVIDERS, OTHER]), st.integers(1, 64 * MIB))
@example(5 * TB, OTHER, 8 * MIB)
@example(5 * TB, Provider("few parts", max_parts=1000), 8 * MIB)
@example(0, OTHER, 1)
def test_any_object_fits(size: int, provider: Provider, wanted: int) -> None:
    """Up to 5 TB, parts of whole MiB are enough and neither too small nor too large for the provider."""
    part = part_size_bytes(provider, size, wanted)
    assert part * provider.max_parts >= size
    assert provider.min_part_bytes <= part <= provider.max_part_bytes
    assert part >= wanted
    assert part % MIB == 0


@given(st.integers(0, 2 * TB), st.sampled_from([1_000, 10_000]))
def test_an_estimate_may_be_half_of_the_truth(size: int, max_parts: int) -> None:
    """A dump twice as large as expected still fits, because its length is not known beforehand."""
    provider = Provider("any", max_parts=max_parts)
    assert part_size_bytes(provider, size) * max_parts >= 2 * size


def test_both_limits_are_in_use() -> None:
    """Some providers allow 10,000 parts, one 1,000: both are known."""
    assert {p.max_parts for p in (*_PROVIDERS, OTHER)} == {1_000, 10_000}


def test_small_objects_have_small_parts() -> None:
    """Memory is not spent on parts larger than needed."""
    assert part_size_bytes(OTHER, 0) == part_size_bytes(OTHER, 40_000 * MIB) == 8 * MIB
    assert part_size_bytes(OTHER, 40_001 * MIB) == 9 * MIB
    assert part_size_bytes(provider_of("https://s3.fr-par.scw.cloud"), 40_000 * MIB) == 80 * MIB


@pytest.mark.parametrize(("endpoint", "name", "style"), [
    ("https://s3.amazonaws.com", "Amazon S3", "virtual"),
    ("https://s3.eu-central-1.amazonaws.com", "Amazon S3", "virtual"),
    ("https://abc123.r2.cloudflarestorage.com", "Cloudflare R2", "path"),
    ("https://s3.us-west-002.backblazeb2.com", "Backblaze B2", "path"),
    ("https://fra1.digitaloceanspaces.com", "DigitalOcean Spaces", "virtual"),
    ("https://s3.wasabisys.com", "Wasabi", "path"),
    ("http://minio:9000", OTHER.name, "path"),
    ("https://s3.amazonaws.com.example.org", OTHER.name, "path"),
    ("https://example.org/.amazonaws.com", OTHER.name, "path"),
    ("", OTHER.name, "path"),
])  # fmt: skip
def test_a_provider_is_known_by_its_host(endpoint: str, name: str, style: str) -> None:
    """The end of the host's name decides, and nothing else in the address."""
    provider = provider_of(endpoint)
    assert (provider.name, provider.addressing_style) == (name, style)
