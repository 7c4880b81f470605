"""Any object fits the parts a provider allows, whatever its size; and each provider is recognised by its host."""

from __future__ import annotations

import tempfile
from io import BytesIO
from typing import get_args

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from blocks.s3.providers import (
    KEYS,
    MIB,
    OTHER,
    PROVIDERS,
    Provider,
    ProviderKey,
    next_part_size_bytes,
    part_size_bytes,
    provider_of,
    region_in,
)
from tasks.engine.repository.parts import MEMORY_PART_BYTES
from tasks.engine.repository.upload import Upload
from tasks.status.check import check_provider
from tasks.status.findings import Finding
from tests.unit.test_requests import storage_of

TB = 10**12
FEW = Provider("few parts", max_parts=1000)
ANY = st.sampled_from([*PROVIDERS, FEW])


def most_bytes(provider: Provider) -> int:
    """Return the size of the largest object with parts of this provider's largest size."""
    return provider.max_parts * (provider.max_part_bytes // MIB * MIB)


def capacity_bytes(provider: Provider, part_bytes: int) -> int:
    """Return what fits when parts start at a size and grow as an upload lets them."""
    total = 0
    for number in range(1, provider.max_parts + 1):
        total += part_bytes
        part_bytes = next_part_size_bytes(provider, part_bytes, number)
    return total


@given(st.integers(0, 5 * TB), ANY, st.integers(1, 64 * MIB))
@example(5 * TB, OTHER, 8 * MIB)
@example(5 * TB, FEW, 8 * MIB)
@example(0, OTHER, 1)
def test_any_object_fits(size: int, provider: Provider, wanted: int) -> None:
    """Up to the provider's maximum, whole-MiB parts are enough, and neither too small nor too large for it."""
    part = part_size_bytes(provider, size, wanted)
    assert part * provider.max_parts >= min(size, most_bytes(provider))
    assert provider.min_part_bytes <= part <= provider.max_part_bytes
    assert part >= wanted
    assert part % MIB == 0


@given(st.integers(0, TB // 2), ANY)
@example(TB // 2, FEW)
def test_an_object_may_be_several_times_as_large_as_expected(size: int, provider: Provider) -> None:
    """A dump's length isn't known in advance: four times as much still fits, even where parts can't grow."""
    part = part_size_bytes(provider, size)
    assert part * provider.max_parts >= min(2 * size, most_bytes(provider))
    assert capacity_bytes(provider, part) >= min(4 * size, most_bytes(provider))


@given(st.integers(1, 5 * 1024), ANY)
def test_parts_stay_within_bounds_while_they_grow(part_mib: int, provider: Provider) -> None:
    """No part is smaller than the one before it or larger than the provider accepts; equal where they must be."""
    before = part_size_bytes(provider, 0, part_mib * MIB)
    for number in range(1, provider.max_parts + 1):
        part = next_part_size_bytes(provider, before, number)
        assert before <= part <= provider.max_part_bytes
        assert part == before or not provider.equal_parts
        before = part


@pytest.mark.parametrize("provider", PROVIDERS, ids=lambda p: p.key)
@pytest.mark.parametrize("size", [0, 20 * 10**9, 100 * 10**9, TB])
def test_memory_is_bounded(provider: Provider, size: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Large parts never wait in memory: they go through a file, whichever provider needs them."""
    files: list[BytesIO] = []

    def new_file(**_: object) -> BytesIO:
        files.append(BytesIO())
        return files[-1]

    monkeypatch.setattr(tempfile, "TemporaryFile", new_file)
    Upload(storage_of(provider), "key", size)
    assert bool(files) == (part_size_bytes(provider, size) > MEMORY_PART_BYTES)
    assert MEMORY_PART_BYTES == 16 * MIB


def test_small_objects_have_small_parts() -> None:
    """Small objects have small parts, so no memory is wasted."""
    assert part_size_bytes(OTHER, 0) == part_size_bytes(OTHER, 40_000 * MIB) == 8 * MIB
    assert part_size_bytes(OTHER, 40_001 * MIB) == 9 * MIB
    assert part_size_bytes(provider_of("https://s3.fr-par.scw.cloud"), 40_000 * MIB) == 80 * MIB
    assert part_size_bytes(provider_of("https://a.r2.cloudflarestorage.com"), 40_000 * MIB) == 16 * MIB


def test_every_provider_is_there_once() -> None:
    """S3_PROVIDER accepts the profiles' own names, and each names one profile."""
    assert tuple(p.key for p in PROVIDERS) == KEYS == get_args(ProviderKey)
    for provider in PROVIDERS:
        assert provider_of("https://s3.example.com", provider.key) is provider


def test_what_is_peculiar_is_in_the_profiles() -> None:
    """Few profiles differ in each field; losing a difference here would break somebody's backup."""
    keys = {field: {p.key for p in PROVIDERS if getattr(p, field) != getattr(Provider(""), field)}
            for field in ("max_parts", "equal_parts", "content_md5", "region", "keeps_versions")}  # fmt: skip
    assert keys == {"max_parts": {"scaleway"}, "equal_parts": {"cloudflare"}, "content_md5": {"aws", "backblaze", "wasabi"},
                    "region": {"cloudflare"}, "keeps_versions": {"backblaze"}}  # fmt: skip


@pytest.mark.parametrize(("endpoint", "key", "region"), [
    ("https://s3.amazonaws.com", "aws", "us-east-1"),
    ("https://s3.eu-central-1.amazonaws.com", "aws", "eu-central-1"),
    ("https://s3-us-west-2.amazonaws.com", "aws", "us-west-2"),
    ("https://s3.dualstack.ap-southeast-2.amazonaws.com", "aws", "ap-southeast-2"),
    ("https://s3-fips.dualstack.us-gov-west-1.amazonaws.com", "aws", "us-gov-west-1"),
    ("https://bucket.vpce-1a2b-3c4d.s3.us-east-2.vpce.amazonaws.com", "aws", "us-east-2"),
    ("https://s3.cn-north-1.amazonaws.com.cn", "aws", "cn-north-1"),
    ("https://s3-external-1.amazonaws.com", "aws", "us-east-1"),
    ("https://S3.EU-West-1.AmazonAWS.com", "aws", "eu-west-1"),
    ("https://abc123.r2.cloudflarestorage.com", "cloudflare", "auto"),
    ("https://abc123.eu.r2.cloudflarestorage.com", "cloudflare", "auto"),
    ("https://s3.us-west-002.backblazeb2.com", "backblaze", "us-west-002"),
    ("https://s3.eu-central-003.backblazeb2.com", "backblaze", "eu-central-003"),
    ("https://fra1.digitaloceanspaces.com", "digitalocean", "fra1"),
    ("https://s3.wasabisys.com", "wasabi", "us-east-1"),
    ("https://s3.ap-northeast-1.wasabisys.com", "wasabi", "ap-northeast-1"),
    ("https://s3.nl-1.wasabisys.com", "wasabi", "us-east-1"),
    ("https://s3.fr-par.scw.cloud", "scaleway", "fr-par"),
    ("https://hel1.your-objectstorage.com", "hetzner", "hel1"),
    ("http://minio:9000", "other", "us-east-1"),
    ("https://s3.eu-west-1.amazonaws.com.example.org", "other", "us-east-1"),
    ("https://example.org/s3.eu-west-1.amazonaws.com", "other", "us-east-1"),
    ("", "other", "us-east-1"),
])  # fmt: skip
def test_a_provider_and_its_region_are_known_by_the_host(endpoint: str, key: str, region: str) -> None:
    """Only the end of the host name decides, nothing else in the address."""
    provider = provider_of(endpoint)
    assert (provider.key, region_in(provider, endpoint) or provider.region) == (key, region)


@pytest.mark.parametrize("provider", PROVIDERS, ids=lambda p: p.key)
def test_examples_are_recognised(provider: Provider) -> None:
    """The documented example of each provider selects its profile and the region shown there."""
    assert provider_of(provider.endpoint) is (provider if provider.hosts else OTHER)
    assert bool(region_in(provider, provider.endpoint)) == bool(provider.region_in_host)


def warnings(provider: Provider, **settings: str) -> list[Finding]:
    """Return `check`'s warnings about a storage."""
    storage = storage_of(provider, **settings)  # type: ignore[arg-type]
    return [finding for finding in check_provider(storage) if finding.result != "ok"]


@pytest.mark.parametrize("provider", PROVIDERS, ids=lambda p: p.key)
def test_check_says_which_provider_it_is(provider: Provider) -> None:
    """`check` names the provider and the region, warns of kept versions, and has no warnings when nothing is wrong."""
    storage = storage_of(provider)
    first = next(check_provider(storage))
    assert (first.name, first.result, first.text) == ("provider", "ok", f"{provider.name}, region {storage.region}")
    assert [finding.name for finding in warnings(provider)] == ["old versions"] * provider.keeps_versions


def test_check_warns_of_settings_that_contradict_each_other() -> None:
    """`check` warns of a region or provider that differs from the endpoint's, and of a bucket named twice."""
    aws, r2 = provider_of("https://s3.amazonaws.com"), provider_of("https://a.r2.cloudflarestorage.com")
    wrong = warnings(aws, region="us-east-1")
    assert [found.text for found in wrong] == ["S3_REGION is us-east-1, but the endpoint is that of eu-central-1"]
    assert warnings(aws, region="eu-central-1") == []
    assert warnings(r2, region="us-east-1") == []
    wrong = warnings(r2, key="aws")
    assert [found.text for found in wrong] == ["S3_PROVIDER is aws, but the endpoint is Cloudflare R2"]
    endpoint = "https://box.fra1.digitaloceanspaces.com"
    named = Provider("", provider_of(endpoint).key, endpoint, ("any",))
    assert [found.name for found in warnings(named, bucket="box")] == ["endpoint"]
