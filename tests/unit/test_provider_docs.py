"""docs/providers.md says what the profiles say, of every provider."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from blocks.config.hints import WHEN_MALFORMED
from blocks.s3.providers import GB, GIB, KEYS, MIB, PROVIDERS, Provider

ROOT = Path(__file__).parents[2]
DOCUMENT = (ROOT / "docs" / "providers.md").read_text()


def row_of(provider: Provider) -> list[str]:
    """A profile as its row in the table."""
    largest = {5 * GB: "5 GB", 5 * GIB: "5 GiB"}[provider.max_part_bytes]
    return [
        f"`{provider.key}`",
        provider.name,
        ", ".join(f"`{host}`" for host in provider.hosts) or "its name only",
        "host" if provider.addressing_style == "virtual" else "path",
        f"{provider.max_parts:,}",
        f"{provider.min_part_bytes // MIB} MiB to {largest}",
        "yes" if provider.equal_parts else "no",
        "yes" if provider.content_md5 else "no",
        ("of the endpoint, else " if provider.region_in_host else "") + f"`{provider.region}`",
        "kept" if provider.keeps_versions else "gone",
    ]


def test_the_table_is_that_of_the_profiles() -> None:
    """Every field of every profile stands there, and no provider that we do not know."""
    rows = [
        [cell.strip() for cell in line.strip("|").split("|")] for line in DOCUMENT.splitlines() if line[:3] == "| `"
    ]
    assert rows[0][0] == "`S3_PROVIDER`"
    assert rows[1:] == [row_of(provider) for provider in PROVIDERS]


def test_every_provider_has_a_section() -> None:
    """In the order of the table, and under the name that `check` says."""
    assert re.findall(r"^## (.+)$", DOCUMENT, re.MULTILINE) == [provider.name for provider in PROVIDERS]


@pytest.mark.parametrize("provider", PROVIDERS, ids=lambda p: p.key)
def test_every_section_has_an_example_and_what_one_must_know(provider: Provider) -> None:
    """The example is the profile's own; it names the provider where its host does not."""
    section = DOCUMENT.partition(f"## {provider.name}\n")[2].partition("\n## ")[0]
    example = section.partition("```sh\n")[2].partition("```")[0].splitlines()
    named = [] if provider.hosts or provider.key == "other" else [f"S3_PROVIDER={provider.key}"]
    assert example == [*named, f"S3_ENDPOINT={provider.endpoint}", "S3_BUCKET=my-postgres-backups"]
    assert re.findall(r"^\*\*(.+?)\.\*\*", section, re.MULTILINE) == ["Endpoint and keys", "Rights", "Peculiar"]


def test_the_values_are_named_where_one_looks_for_them() -> None:
    """`.env.example` and the hint of a wrong value have them all."""
    before = (ROOT / ".env.example").read_text().partition("# S3_PROVIDER=")[0].splitlines()[-3:]
    for text in (" ".join(before), WHEN_MALFORMED["S3_PROVIDER"]):
        assert [key for key in re.findall(r"[a-z0-9]+", text) if key in KEYS] == [*KEYS]
