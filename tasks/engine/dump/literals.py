"""Let only literals through where a server would compute an expression at once: rows, bounds of partitions, arguments of calls."""

from __future__ import annotations

from collections.abc import Iterable

from tasks.engine.dump.sql_tokens import Token

_LITERALS = {Token("word", text) for text in ("NULL", "TRUE", "FALSE", "DEFAULT")}
_FIELDS = ("YEAR", "MONTH", "DAY", "HOUR", "MINUTE", "SECOND")
# The names of types that have several words (`SimpleTypename` in PostgreSQL's gram.y), by what may follow a word. Any other word
# behind a type is an operator, and may be followed by a call: `'t'::bool IS DISTINCT FROM f()`.
_GOES_ON = {
    ("DOUBLE", "PRECISION"), ("CHARACTER", "VARYING"), ("CHAR", "VARYING"), ("BIT", "VARYING"), ("TIME", "WITH"), ("TIME", "WITHOUT"),
    ("TIMESTAMP", "WITH"), ("TIMESTAMP", "WITHOUT"), ("WITH", "TIME"), ("WITHOUT", "TIME"), ("TIME", "ZONE"),
    *(("INTERVAL", field) for field in _FIELDS), *((field, "TO") for field in _FIELDS), *(("TO", field) for field in _FIELDS),
}  # fmt: skip
# What may come, by what came: `value` wants a literal, `after` is behind one, `type` wants a type's name and `typed` is behind one,
# `modifier` is inside of `numeric(10, 2)`, `dimension` inside of `int[3]`.
_SIGNS = {
    "value": {"(": "value", "-": "value", "+": "value"},
    "after": {"::": "type", ",": "value", ")": "after"},
    "typed": {"::": "type", ",": "value", ")": "after", ".": "type", "(": "modifier", "[": "dimension"},
    "modifier": {",": "modifier", ")": "typed", "-": "modifier"},
    "dimension": {"]": "typed"},
}


def literals(values: Iterable[Token]) -> bool:
    """Whether there are only literals, names of types behind `::`, and what stands between them."""
    state, word = "value", ""
    for token in values:
        before, state = state, _next(state, word, token)
        if not state:
            return False
        if before in ("type", "typed") and token.kind == "word":
            word = token.text
        elif before == "type":
            word = ""
    return state not in ("type", "modifier", "dimension")


def _next(state: str, word: str, token: Token) -> str:
    """What may come after a token; empty when the token may not come."""
    if token.kind == "sign":
        return _SIGNS.get(state, {}).get(token.text, "")
    allowed = {
        "value": token.kind in ("string", "number") or token in _LITERALS,
        "type": token.kind in ("word", "ident"),
        "typed": token.kind == "word" and (word, token.text) in _GOES_ON,
        "modifier": True,
        "dimension": token.kind == "number",
    }
    behind = {"value": "after", "type": "typed"}.get(state, state)
    return behind if allowed.get(state) else ""
