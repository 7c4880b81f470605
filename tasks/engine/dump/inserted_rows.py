"""Allow only INSERTs of literals into the database's own tables."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice, takewhile

from tasks.engine.dump.literals import literals
from tasks.engine.dump.sql_tokens import MOST_WORDS, Token, of_the_system

_OF_TARGET = ("", "INSERT", "INTO", "(", ")", ",", ".", "OVERRIDING", "SYSTEM", "USER", "VALUE")


def of_rows(statement: Iterator[Token]) -> bool:
    """Whether a statement inserts literals into one of the database's own tables."""
    begun = list(islice(takewhile(lambda token: (token.kind, token.text) != ("word", "VALUES"), statement), MOST_WORDS))
    said = [t.text if t.kind in ("word", "sign") else "" for t in begun]
    if said[1:2] != ["INTO"] or of_the_system(begun[2:7]):
        return False
    if said[-1] == "DEFAULT":
        return [t.text for t in islice(statement, 2)] == [";"]
    if "SELECT" in said or not all(w in _OF_TARGET or t.kind == "word" for w, t in zip(said, begun, strict=True)):
        return False
    end = list[Token]()
    known = literals(_until_end(statement, end))
    return known and [t.text for t in end] in ([";"], ["ON", "CONFLICT", "DO", "NOTHING", ";"])


def _until_end(values: Iterator[Token], end: list[Token]) -> Iterator[Token]:
    """Yield the values of an INSERT; put what follows them into `end`."""
    before = ""
    for token in values:
        if token.text == ";" or (before == ")" and (token.kind, token.text) == ("word", "ON")):
            end += [token, *islice(values, 5)]
            return
        before = token.text
        yield token
