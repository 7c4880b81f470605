"""Run the user's queries against a restored database, and compare the results with their expectations."""

from __future__ import annotations

import math
import operator
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from decimal import Decimal
from types import MappingProxyType
from typing import Any

from blocks.errors import PgRoundtripError
from blocks.sql.connection import Connection
from blocks.sql.server import Server
from tasks.engine.drill.query_file import NAME_LENGTH, NUMBER, PREFIX, Expectation, Query, one_line, shorten
from tasks.engine.repository import checks as checklist
from tasks.engine.repository.manifest import Check

_SAID_LENGTH, _VALUE_LENGTH = 200, 40

_COMPARE: MappingProxyType[str, Callable[[Any, Any], bool]] = MappingProxyType(
    {">": operator.gt, ">=": operator.ge, "<": operator.lt, "<=": operator.le, "=": operator.eq, "!=": operator.ne,
     "<>": operator.ne}
)  # fmt: skip


@dataclass(frozen=True)
class Answer:
    """What is kept of a result: the number of rows, the first one, and whether any held a value that is not NULL."""

    rows: int
    first: tuple[object, ...] | None
    filled: bool


def meets(expectation: Expectation, answer: Answer) -> bool:
    """Whether a result is as expected; NULL satisfies no comparison."""
    if expectation.of in ("empty", "not empty"):
        return answer.filled == (expectation.of == "not empty")
    value = answer.rows if expectation.of == "rows" else next(iter(answer.first or ()), None)
    if value is None:
        return False
    text, wanted = _printed(value), expectation.operand
    if expectation.of in ("true", "false"):
        return text.lower() in (expectation.of, expectation.of[0])
    if not isinstance(wanted, Decimal):
        return _COMPARE[expectation.operator](text, wanted)
    number = NUMBER.fullmatch(text.strip())
    if number is None:
        return expectation.operator in ("!=", "<>")
    return _COMPARE[expectation.operator](Decimal(number[0]), wanted)


def ask_queries(
    database: Server, queries: Sequence[Query], *, timeout_s: int, strict: bool, warn: Callable[[str], None],
    remaining_s: Callable[[], float] = lambda: math.inf,
) -> list[Check]:  # fmt: skip
    """Run every query, whatever happened to the others, and return a check for each.

    A query that ends with an error gets a warning and fails only if `strict`, because most often the problem is the
    query and not the backup. Raises when the server itself is gone, and what `remaining_s` raises when no time is left.
    """
    if not queries:
        return []
    checks = []
    with database.connect(own_names=True) as connection:
        for query in queries:
            started, name, limit_s = time.monotonic(), PREFIX + query.name, max(1, int(min(timeout_s, remaining_s())))
            try:
                check = _judged(name, query.expectation, _ask(connection, query, limit_s))
            except PgRoundtripError as error:
                if connection.lost:
                    raise
                warn(f"Query failed: {shorten(query.text, _SAID_LENGTH)}")
                said = error.context.removeprefix(f"{database.address}: ")
                check = (checklist.failed if strict else checklist.warned)(name, shorten(said, _SAID_LENGTH))
            checks += checklist.timed([check], time.monotonic() - started)
    return checks


def _ask(connection: Connection, query: Query, timeout_s: int) -> Answer:
    rows, first, filled = 0, None, False
    with connection.read_only(timeout_s):
        for row in connection.stream(query.text):
            first = row if first is None else first
            filled = filled or any(value is not None for value in row)
            rows += 1
    return Answer(rows, first, filled)


def _judged(name: str, expectation: Expectation | None, answer: Answer) -> Check:
    if expectation is None:
        return checklist.passed(name, f"no expectation, got {_seen(answer)}")
    seen = _seen(answer, scalar=expectation.of != "rows")
    evidence = f"expected {shorten(expectation.text, NAME_LENGTH)}, got {seen}"
    return (checklist.passed if meets(expectation, answer) else checklist.failed)(name, evidence)


def _seen(answer: Answer, *, scalar: bool = True) -> str:
    """Return a short single value, or the number of rows: a report must not disclose a table's contents."""
    if scalar and answer.rows == 1 and answer.first is not None and len(answer.first) == 1:
        value = answer.first[0]
        text = "NULL" if value is None else one_line(_printed(value))
        if len(text) <= _VALUE_LENGTH:
            return text
    return f"{answer.rows} row{'' if answer.rows == 1 else 's'}"


def _printed(value: object) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)
