"""Any schema that a server accepts survives its dump, and the drill's checks confirm it."""

from __future__ import annotations

import os
import random
from collections.abc import Iterable

import pytest

from blocks.errors import DatabaseError
from tasks.engine.servers.programs import Client
from tests.conftest import MAJORS, NewDatabase
from tests.integration.odd_expressions import OddExpressions
from tests.integration.odd_schemas import ROLES, OddSchema
from tests.integration.round_trips import taken_round, wrong

_WIDE = 25


def _proved(statements: Iterable[str], major: int, new_database: NewDatabase, client: Client) -> dict[str, str]:
    source, taken = new_database(major), 0
    with source.connect(own_names=True) as connection:
        for statement in statements:
            try:
                connection.execute(statement.replace("{", "{{").replace("}", "}}"))
                taken += 1
            except DatabaseError:  # random statements aren't always possible
                continue
    assert taken > 60
    return wrong(taken_round(source, new_database(major), client))


def _odd(seed: int) -> Iterable[str]:
    return (ROLES, *OddSchema(seed).statements())


@pytest.mark.parametrize("seed", [101, 106, 109])
@pytest.mark.parametrize("major", MAJORS)
def test_an_odd_schema_is_proven(major: int, seed: int, new_database: NewDatabase, clients: dict[int, Client]) -> None:
    """No check fails for a faithful restore."""
    assert _proved(_odd(seed), major, new_database, clients[major]) == {}


@pytest.mark.parametrize("major", MAJORS)
def test_odd_expressions_are_proven(major: int, new_database: NewDatabase, clients: dict[int, Client]) -> None:
    """A server may nest a printed expression differently before and after a restore."""
    assert _proved(OddExpressions(7).statements(), major, new_database, clients[major]) == {}


@pytest.mark.long
@pytest.mark.parametrize("major", MAJORS)
def test_many_odd_expressions_are_proven(major: int, new_database: NewDatabase, clients: dict[int, Client]) -> None:
    """New ones each time with EXAMPLES=random; a failure prints its seed."""
    first = random.SystemRandom().randrange(10**9) if os.environ.get("EXAMPLES") == "random" else 2000
    found = {
        seed: _proved(OddExpressions(seed).statements(), major, new_database, clients[major])
        for seed in range(first, first + _WIDE)
    }
    assert {seed: checks for seed, checks in found.items() if checks} == {}


@pytest.mark.long
@pytest.mark.parametrize("major", MAJORS)
def test_many_odd_schemas_are_proven(major: int, new_database: NewDatabase, clients: dict[int, Client]) -> None:
    """New schemas each time with EXAMPLES=random; a failure prints its seed."""
    first = random.SystemRandom().randrange(10**9) if os.environ.get("EXAMPLES") == "random" else 1000
    found = {seed: _proved(_odd(seed), major, new_database, clients[major]) for seed in range(first, first + _WIDE)}
    assert {seed: checks for seed, checks in found.items() if checks} == {}
