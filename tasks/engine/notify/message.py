"""The message that every channel gets, in its own form: a documented format, which is also the webhook's JSON."""

from __future__ import annotations

import re
import uuid
from typing import Literal

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field

from tasks.engine.wording import visible

Kind = Literal["failed", "reminder", "recovered", "succeeded", "test"]
Severity = Literal["error", "warning", "info"]
_SENTENCE, _TITLE = 1000, 140
_LOGIN = re.compile(r"(?<=://)\S*@")
_PASSWORD = re.compile(
    r"(?i)((?:password|passwd|pwd|secret|token|signature|credential|access_?key|api_?key)[\w-]{0,20}\s?=\s?)"
    r"""(?:'(?:[^'\\]|\\.|'')*'?|"(?:[^"\\]|\\.)*"?|[^\s&;,]+)"""
)
# PostgreSQL quotes a value that it refuses, and the value may contain quotes: everything from the first one goes.
_CELL = re.compile(
    r"(?is)((?:invalid (?:input|value)|malformed|out of range|value too long|invalid \w+ digit)[^\"]*\"|\bvalue \").*"
)


class Named(BaseModel):
    """A backup, and how old its contents were when the message was written."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    name: str
    taken_at: AwareDatetime
    age_seconds: int


class Message(BaseModel):
    """What happened, since when, what it means, and what to do next.

    `id` is the same however often it is sent. None of the texts contains a secret or a row.
    """

    model_config = ConfigDict(frozen=True, extra="ignore")

    schema_version: Literal[1] = Field(default=1, alias="schema")
    id: str
    kind: Kind
    severity: Severity
    subject: str
    plan: str
    at: AwareDatetime
    title: str
    what: str
    code: str = ""
    since: AwareDatetime | None = None
    lasted_seconds: int | None = None
    failures: int = 0
    hint: str = ""
    means: str = ""
    newest_backup: Named | None = None
    newest_proven: Named | None = None
    next: str = ""
    tool_version: str = ""

    def encode(self) -> bytes:
        """Return its JSON, the same bytes each time."""
        return self.model_dump_json(by_alias=True, indent=1).encode()

    def lines(self) -> list[str]:
        """Return what people read below the title."""
        what = f"{self.what} ({self.code})" if self.code else self.what
        hint, command = (f"{word}: {text}" if text else "" for word, text in (("Hint", self.hint), ("Next", self.next)))
        return [line for line in (what, hint, self.means, command) if line]


def identity(*parts: object) -> str:
    """Return the id of a message from what makes it that message and no other."""
    return str(uuid.uuid5(uuid.NAMESPACE_URL, "pg-roundtrip/" + "/".join(map(str, parts))))


def told(text: str, limit: int = _SENTENCE) -> str:
    """Make a sentence fit for other people's eyes: no login, no value of a row, no invisible characters, bounded."""
    public = _PASSWORD.sub(r"\1…", _LOGIN.sub("…@", text[: 4 * limit]))
    return shortened(visible(_CELL.sub(r'\1…"', public)), limit)


def shortened(text: str, limit: int) -> str:
    """Cut a text to a number of characters, and show that it was cut."""
    return text if len(text) <= limit else text[: limit - 1] + "…"


def title_of(text: str) -> str:
    """Return a title that fits the narrowest channel."""
    return told(text, _TITLE)
