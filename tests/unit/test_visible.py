"""Names in a database or a bucket can't move a terminal's cursor or forge log lines."""

from __future__ import annotations

import json
import logging
from typing import Any

import pytest

from blocks.errors import DatabaseRefused
from flows import lines, terminal
from flows.runs.final_state import with_final_state
from flows.runs.logs import PlainFormatter, Plainly
from tasks.engine.wording import visible, visible_json
from tasks.outcome import Outcome
from tasks.reports import publish

# One of every kind: C0, DEL, C1, bidirectional, zero width, separators, lone surrogate, tag.
UNSEEN = ["\0", "\x07", "\b", "\t", "\n", "\v", "\r", "\x1b", "\x1c", "\x7f", "\x85", "\x9b", "\xad", "\u061c", "\u200b", "\u200d",
          "\u200e", "\u200f", "\u2028", "\u2029", "\u202a", "\u202e", "\u2060", "\u2066", "\u2069", "\ufeff", "\ud800", "\U000e0041"]  # fmt: skip
EVIL = "".join(UNSEEN)
FORGED = "x\n2026-01-01T00:00:00Z INFO: Backup completed\r\x1b[2J\u202e"


def unseen_in(text: str) -> set[str]:
    """Return which of them are still in a text whose lines are our own."""
    return {c for c in UNSEEN if c != "\n" and c in text}


@pytest.mark.parametrize("character", UNSEEN, ids=ascii)
def test_what_cannot_be_seen_is_shown(character: str) -> None:
    """Every invisible character is shown as an escape, and escaping twice changes nothing."""
    shown = visible(f"a{character}b")
    assert shown == "a" + ascii(character)[1:-1] + "b"
    assert visible(shown) == shown


def test_what_people_write_stays_as_it_is() -> None:
    """Names in any script, simple emoji and backslashes are unchanged; only the joiners in joined emoji are escaped."""
    for text in ("заказы", "注文", "طلبات", "commandé", "❤️ 🎉", r"C:\temp", "a|b"):
        assert visible(text) == text
    assert visible("👩\u200d🚀") == r"👩\u200d🚀"


@pytest.mark.parametrize("how", ["value", "whole", "error", "exception", "logged exception"])
def test_a_name_in_the_log(how: str) -> None:
    """Neither the console nor Prefect's history handler gets it raw; a line feed in a value starts no new log line."""
    error: Exception | None = None
    message: str = "table %s"
    values: tuple[object, ...] = (FORGED + EVIL,)
    if how == "whole":
        message, values = f"table {EVIL}", ()
    elif how == "error":
        message, values = "%s", (DatabaseRefused(FORGED + EVIL),)
    elif how == "exception":
        error = ValueError(EVIL)
    elif how == "logged exception":
        values = (ValueError(EVIL),)
    record = logging.LogRecord(
        "x", logging.ERROR, "", 0, message, values, (type(error), error, None) if error else None
    )
    assert Plainly().filter(record)
    for text in (PlainFormatter().format(record), logging.Formatter("%(message)s").format(record)):
        assert not unseen_in(text)
        assert "\n2026-01-01T00:00:00Z INFO" not in text
    if how in ("value", "error"):
        assert not any("INFO: Backup completed" in line[:60] for line in PlainFormatter().format(record).splitlines())


def test_a_name_at_the_terminal(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """Tables, sentences, errors and JSON are escaped; what looks like our colour markup is plain text."""
    name = f"[red]{EVIL}"
    entry = {"name": name, "taken_at": EVIL, "object_bytes": 1, "rows": 1, "verdict": EVIL, "foreign": False}
    plan = {"name": name, "fault": EVIL, "database": EVIL, "storage": None, "backups_due": EVIL, "drills_due": EVIL}
    terminal.show_catalog([entry])
    terminal.show_plans([plan])
    terminal.show_facts({EVIL: EVIL})
    lines.print_line(FORGED + EVIL)
    lines.print_error([FORGED + EVIL])
    seen = capsys.readouterr()
    assert not unseen_in(seen.out + seen.err)
    assert "[red]" in seen.out
    assert "\n2026-01-01T00:00:00Z INFO" not in seen.out + seen.err
    terminal.show_json([{EVIL: name}])
    document = capsys.readouterr().out
    assert not unseen_in(document)
    assert json.loads(document) == [{EVIL: name}]


def test_json_keeps_its_meaning() -> None:
    """JSON escapes keep the value intact for scripts; readable characters stay readable."""
    shown = visible_json(json.dumps({"заказы": EVIL}, ensure_ascii=False))
    assert "заказы" in shown
    assert not unseen_in(shown)
    assert json.loads(shown) == {"заказы": EVIL}


def test_a_name_on_a_page(monkeypatch: pytest.MonkeyPatch) -> None:
    """Artifacts keep only their own line breaks, wherever on a page the name occurs."""
    seen: dict[str, str] = {}
    monkeypatch.setattr("prefect.artifacts.create_markdown_artifact", lambda **given: seen.update(given))
    publish.publish("drill", "default", FORGED + EVIL, f"# {EVIL}\n\ntext")
    assert not unseen_in("".join(seen.values()))
    assert "\n" not in seen["description"]
    assert seen["markdown"].endswith("\n\ntext")


def test_a_name_in_the_history() -> None:
    """A run's final message is safe in the UI, and in `prefect flow-run ls` at a terminal."""
    good: Any = with_final_state(lambda: Outcome("backup", "default", EVIL, 1))()

    def refused() -> Outcome[int]:
        error = DatabaseRefused(EVIL)
        error.logged = True
        raise error

    bad: Any = with_final_state(refused)()
    assert not unseen_in(f"{good.message}{bad.message}")
    assert "\n" not in f"{good.message}{bad.message}"
