"""Put a message into the form of the service that its address belongs to, within that service's limits.

Slack: https://docs.slack.dev/reference/block-kit/blocks; Discord: https://docs.discord.com/developers/resources/webhook.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from typing import Any
from urllib.parse import urlsplit

from tasks.engine.notify.message import Message, shortened
from tasks.engine.wording import iso

# A header block, and the text of a section. Slack cuts the text for notifications at 4,000; a title is far shorter.
SLACK_HEADER, SLACK_SECTION = 150, 3000
# An embed's title and description; all of its text together may have 6,000 characters.
DISCORD_TITLE, DISCORD_DESCRIPTION = 256, 4096
_COLORS = {"error": 0xD73A49, "warning": 0xDBAB09, "info": 0x28A745}
_MARKS = {"error": "🔴", "warning": "🟡", "info": "🟢"}
Form = Callable[[Message], dict[str, Any]]


def service_of(url: str) -> str:
    """Return `slack`, `discord` or `webhook` for an address."""
    parts = urlsplit(url)
    host = (parts.hostname or "").lower()
    if host in ("hooks.slack.com", "hooks.slack-gov.com"):
        return "slack"
    if re.fullmatch(r"((canary|ptb)\.)?discord(app)?\.com", host) and "/webhooks/" in parts.path:
        return "discord"
    return "webhook"


def body_of(service: str, message: Message) -> bytes:
    """Return what is posted there: Slack's or Discord's form, or the message's own JSON."""
    form: Form | None = {"slack": slack, "discord": discord}.get(service)
    return json.dumps(form(message), ensure_ascii=False).encode() if form else message.encode()


def slack(message: Message) -> dict[str, Any]:
    """Return blocks of plain text, in which nothing is a link, a mention or a format, and the text for notifications."""
    title = f"{_MARKS[message.severity]} {message.title}"
    small = f"{iso(message.at)} · pg-roundtrip {message.tool_version} · {message.id}"
    return {
        "text": title.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;"),
        "mrkdwn": False,
        "blocks": [
            {"type": "header", "text": _plain(title, SLACK_HEADER)},
            {"type": "section", "text": _plain("\n".join(message.lines()), SLACK_SECTION)},
            {"type": "context", "elements": [_plain(small, SLACK_SECTION)]},
        ],
    }


def _plain(text: str, limit: int) -> dict[str, Any]:
    return {"type": "plain_text", "text": shortened(text, limit), "emoji": False}


def discord(message: Message) -> dict[str, Any]:
    """Return an embed that mentions nobody."""
    return {
        "allowed_mentions": {"parse": []},
        "embeds": [
            {
                "title": shortened(_discord_text(message.title), DISCORD_TITLE),
                "description": shortened("\n".join(map(_discord_text, message.lines())), DISCORD_DESCRIPTION),
                "color": _COLORS[message.severity],
                "timestamp": iso(message.at),
                "footer": {"text": f"pg-roundtrip {message.tool_version} · {message.id}"},
            }
        ],
    }


def _discord_text(text: str) -> str:
    return re.sub(r"[\\*_~`|<>\[\]()#]", r"\\\g<0>", text)
