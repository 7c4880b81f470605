"""Allow only INSERTs of literals into the database's own tables."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import islice, takewhile

from tasks.engine.dump.literals import literals
from tasks.engine.dump.sql_tokens import MOST_WORDS, Token, Unreadable, of_the_system, relation_at

_WITH_DEFAULTS = ["DEFAULT"]
_OVERRIDING = (["OVERRIDING", "SYSTEM", "VALUE"], ["OVERRIDING", "USER", "VALUE"])


def of_rows(statement: Iterator[Token]) -> bool:
    """INSERT of literals into a table of the database's own."""
    begun = list(islice(takewhile(lambda token: (token.kind, token.text) != ("word", "VALUES"), statement), MOST_WORDS))
    if [t.text for t in begun[:2]] != ["INSERT", "INTO"] or of_the_system(begun[2:7]):
        return False
    behind = _behind_target(begun)
    if behind in (_WITH_DEFAULTS, *([*words, *_WITH_DEFAULTS] for words in _OVERRIDING)):
        return [t.text for t in islice(statement, 2)] == [";"]
    if behind and behind not in _OVERRIDING:
        return False
    end = list[Token]()
    known = literals(_until_end(statement, end))
    return known and [t.text for t in end] in ([";"], ["ON", "CONFLICT", "DO", "NOTHING", ";"])


def _behind_target(begun: Sequence[Token]) -> list[str]:
    """Return the words behind the table and its columns; raises Unreadable for a table that is not named plainly."""
    _, at = relation_at(begun, 2)
    if [t.text for t in begun[at : at + 1]] == ["("]:
        names, commas = begun[at + 1 :: 2], begun[at + 2 :: 2]
        count = next((n for n, t in enumerate(commas) if t.text == ")"), len(commas))
        if not all(t.kind in ("word", "ident") for t in names[: count + 1]) or any(
            t.text != "," for t in commas[:count]
        ):
            raise Unreadable("columns that are not named plainly")
        at += 2 * count + 3
    return [t.text if t.kind == "word" else "" for t in begun[at:]]


def _until_end(values: Iterator[Token], end: list[Token]) -> Iterator[Token]:
    """Yield the values of an INSERT; put what follows them into `end`."""
    before = ""
    for token in values:
        if token.text == ";" or (before == ")" and (token.kind, token.text) == ("word", "ON")):
            end += [token, *islice(values, 5)]
            return
        before = token.text
        yield token
