"""Databases that use extensions survive a round trip as documented in docs/compatibility.md."""

from __future__ import annotations

from pathlib import Path

import pytest

from blocks.s3.client import ObjectStore
from tasks.engine.servers.programs import Client
from tests.integration.extensions import USES, Use, drilled, row

DOCUMENT = (Path(__file__).parents[2] / "docs" / "compatibility.md").read_text()
CASES = [pytest.param(use, id=f"{use.name}-{use.major}", marks=() if use.often else pytest.mark.long) for use in USES]


@pytest.mark.parametrize("use", CASES)
def test_a_use_of_an_extension_is_proven_as_the_table_says(
    use: Use, storage: ObjectStore, clients: dict[int, Client]
) -> None:
    """The drill's verdict and its reason are those of the table."""
    assert row(use, drilled(use, storage, clients[use.major])) in DOCUMENT
