"""Messages say what is needed, fit every channel, and hold nothing that others must not see."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import re
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import SecretStr

from blocks.config.settings import NotificationSettings
from blocks.errors import ConfigurationError
from tasks.engine.notify.apprise_program import without_secrets
from tasks.engine.notify.channels import Channels, Webhook
from tasks.engine.notify.facts import Facts
from tasks.engine.notify.forms import discord, service_of, slack
from tasks.engine.notify.incidents import Incident, Observation, Subject
from tasks.engine.notify.message import Message, told
from tasks.engine.notify.ping import BODY_BYTES, ping
from tasks.engine.notify.signature import signed
from tasks.engine.notify.template import render
from tasks.engine.notify.wording import Writer
from tasks.engine.repository.catalog import Backup

NOW = datetime(2026, 11, 21, 12, tzinfo=UTC)
NEWEST = Backup("backup_20261121_110000", NOW - timedelta(hours=1), "", 1, has_manifest=True, has_report=False)
PROVEN = Backup("backup_20261119_110000", NOW - timedelta(days=2, hours=1), "", 1, has_manifest=True, has_report=True)
SENTENCE = "Cannot connect to database [db:5432]"
TEXTS = st.text(max_size=6000) | st.text("<@!&*_`[](){}\\:#|~ \n", max_size=3000)


def message(sentence: str = SENTENCE, plan: str = "default", hint: str = "check it") -> Message:
    """Return the message of a backup that has failed for three hours."""
    seen = Observation(Subject.BACKUP, NOW, bad=True, sentence=sentence, code="PGR-DB-REFUSED", hint=hint)
    incident = Incident(
        subject=Subject.BACKUP, open=True, since=NOW - timedelta(hours=3), seen_at=NOW, failures=3, told_at=NOW
    )
    return Writer(plan, "here", NOW, Facts(NEWEST, proven=PROVEN)).of_incident("failed", incident, seen, None)


def test_what_a_message_says() -> None:
    """What happened, since when, what it means, and the next command."""
    assert message(plan="shop").lines() == [
        "Cannot connect to database [db:5432] (PGR-DB-REFUSED)",
        "Hint: check it",
        "Since 2026-11-21T09:00:00Z. Newest backup: backup_20261121_110000, 60 min old. Newest PROVEN backup: backup_20261119_110000, 2 days old.",
        "Next: pg-roundtrip check --plan shop",
    ]
    assert message().title == "Backup failed (default)"
    assert Message.model_validate_json(message().encode()) == message()


def test_what_a_message_says_without_a_bucket() -> None:
    """What is not known is not guessed."""
    incident = Incident(subject=Subject.DRILL, open=True, severity="warning", since=NOW, seen_at=NOW)
    seen = Observation(Subject.DRILL, NOW, bad=True, sentence="no server", severity="warning")
    found = Writer("default", "here", NOW).of_incident("failed", incident, seen, None)
    assert found.title == "Drill INCONCLUSIVE (default)"
    assert "can't be read" in found.means
    assert (
        "No backup is PROVEN"
        in Writer("default", "", NOW, Facts(NEWEST)).of_incident("failed", incident, seen, None).means
    )


def test_a_reminder_repeats_what_was_told() -> None:
    """A reminder that no new failure caused says again what was wrong; each day's has its own id."""
    first = message()
    ids = set()
    for days in (1, 2):
        incident = Incident(subject=Subject.BACKUP, open=True, since=NOW, seen_at=NOW, failures=4, told_at=NOW)
        again = Writer("default", "here", NOW + timedelta(days=days), Facts(NEWEST)).of_incident(
            "reminder", incident, None, first
        )
        assert (again.title, again.what, again.code) == ("Reminder: Backup failed (default)", first.what, first.code)
        ids.add(again.id)
    assert len(ids | {first.id}) == 3


@given(TEXTS)
def test_slack_s_limits(text: str) -> None:
    """Blocks have Slack's documented form, and no text can mention anyone or make a link (https://docs.slack.dev/reference/block-kit)."""
    found = slack(message(text))
    assert len(found["text"]) <= 4000
    assert "<" not in found["text"]
    header, section, context = found["blocks"]
    assert [block["type"] for block in found["blocks"]] == ["header", "section", "context"]
    for part, limit in ((header["text"], 150), (section["text"], 3000), *((e, 3000) for e in context["elements"])):
        assert part["type"] == "plain_text"
        assert 1 <= len(part["text"]) <= limit
    json.dumps(found)


@given(TEXTS)
def test_discord_s_limits(text: str) -> None:
    """Embeds have Discord's documented form and mention nobody (https://docs.discord.com/developers/resources/message)."""
    found = discord(message(text))
    (embed,) = found["embeds"]
    assert found["allowed_mentions"] == {"parse": []}
    assert 1 <= len(embed["title"]) <= 256
    assert 1 <= len(embed["description"]) <= 4096
    assert len(embed["footer"]["text"]) <= 2048
    assert sum(map(len, (embed["title"], embed["description"], embed["footer"]["text"]))) <= 6000
    assert 0 <= embed["color"] <= 0xFFFFFF
    assert datetime.fromisoformat(embed["timestamp"])


def test_discord_shows_names_as_they_are() -> None:
    """A table's name is neither a link nor a format."""
    (embed,) = discord(message("table **x** [here](http://evil)"))["embeds"]
    assert r"table \*\*x\*\* \[here\]\(http://evil\)" in embed["description"]


@pytest.mark.parametrize(("url", "service"), [
    ("https://hooks.slack.com/services/T/B/x", "slack"), ("https://HOOKS.SLACK.COM/workflows/x", "slack"),
    ("https://discord.com/api/webhooks/1/x", "discord"), ("https://discordapp.com/api/v10/webhooks/1/x", "discord"),
    ("https://discord.com.evil.example/api/webhooks/1/x", "webhook"), ("https://example.com/hooks.slack.com", "webhook"),
    ("https://discord.com/invite", "webhook"), ("https://example.com", "webhook"),
])  # fmt: skip
def test_whose_an_address_is(url: str, service: str) -> None:
    """By its host, and nothing that looks like it."""
    assert service_of(url) == service


def test_a_signature() -> None:
    """What Standard Webhooks documents: its own example (https://github.com/standard-webhooks/standard-webhooks)."""
    at = datetime.fromtimestamp(1674087231, UTC)
    body, identity = b'{"type":"contact.created"}', "msg_p5jXN8AQM9LWM0D4loKWxJek"
    for secret, key in (
        ("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", base64.b64decode("MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw")),
        ("any text", b"any text"),
    ):
        headers = signed(secret, identity, at, body)
        expected = base64.b64encode(
            hmac.new(key, identity.encode() + b".1674087231." + body, hashlib.sha256).digest()
        ).decode()
        assert headers == {"webhook-timestamp": "1674087231", "webhook-signature": f"v1,{expected}"}


def test_a_template() -> None:
    """It makes any body; a field that does not exist is an error, and so is whatever the sandbox refuses."""
    hook = Webhook(
        SecretStr("https://example.com"), template=SecretStr('{"text": {{ title | tojson }}, "since": "{{ since }}"}')
    )
    made = hook.post(message('a "quoted" name'), NOW)
    assert json.loads(made.body) == {"text": "Backup failed (default)", "since": "2026-11-21T09:00:00Z"}
    assert made.headers["Content-Type"] == "application/json"
    assert render("{{ title }}!", message())[1].startswith("text/plain")
    for wrong in (
        "{{ headline }}", "{{ ''.__class__.__mro__ }}", "{{ 1 / 0 }}", "{{ title.missing.more }}",
        "{% macro a() %}{{ a() }}{% endmacro %}{{ a() }}", r"{{ '\ud800' }}",
    ):  # fmt: skip
        with pytest.raises(ConfigurationError, match="WEBHOOK_TEMPLATE"):
            render(wrong, message())


@pytest.mark.parametrize(("text", "secret"), [
    ("postgresql://app:hunter2@db:5432/shop refused", "hunter2"), ("at https://hunter2@example.com/x", "hunter2"),
    ("host=db password=hunter2 dbname=x", "hunter2"), ("?sslpassword=hunter2&x=1", "hunter2"),
    ("PGPASSWORD=hunter2 psql", "hunter2"), ("password='a b hunter2' x", "hunter2"), ("password = 'a\\'b hunter2", "hunter2"),
    ("?Signature=hunter2&x", "hunter2"), ("&X-Amz-Credential=hunter2%2F", "hunter2"), ("AWS_SECRET_ACCESS_KEY=hunter2", "hunter2"),
])  # fmt: skip
def test_no_password_is_told(text: str, secret: str) -> None:
    """Whatever an error says, a login in it is left out."""
    assert secret not in told(text)
    assert secret not in message(text, hint=text).encode().decode()


@pytest.mark.parametrize("text", [
    'invalid input syntax for type integer: "Jane "J." Doe"', 'value "Jane Doe" is out of range for type integer',
    'invalid input value for enum mood: "Jane Doe"', 'date/time field value out of range: "Jane Doe',
    'malformed array literal: "{Jane Doe}"', 'ERROR: invalid value "Jane Doe" for "YYYY"', 'invalid hexadecimal digit: "J"anet Doe"',
])  # fmt: skip
def test_no_row_is_told(text: str) -> None:
    """PostgreSQL quotes values that it refuses; which type refused one is told, the value is not."""
    assert not {"Jane", "Doe", "anet"} & set(re.split(r"[\s{}\"]+", told(text)))
    assert told('permission denied for table "orders"') == 'permission denied for table "orders"'


def test_a_channels_error_shows_nothing_of_its_address() -> None:
    """Not as it is written, and not as it is decoded."""
    url = "mailto://me:p%40ss%2Fword@example.com?token=a+b%3Dc"
    for secret in ("p@ss/word", "p%40ss%2Fword", "a b=c"):
        assert secret not in without_secrets(f"login failed for {secret}, sorry", url)


def test_hostile_text_is_tame() -> None:
    """It is bounded, and shows what is invisible."""
    found = message("\x1b[31m\u202e" + "x" * 10_000)
    assert len(found.what) <= 1000
    assert found.what.startswith("\\x1b[31m\\u202e")


def test_which_messages_a_webhook_wants() -> None:
    """WEBHOOK_ON_SUCCESS and WEBHOOK_ON_FAILURE are the webhook's; what is tested is always sent."""
    given = {
        "webhook_url": SecretStr("https://hooks.slack.com/x"),
        "notify_urls": SecretStr("json://one, mailto://u:p@two.example?to=a@b,c@d"),
    }
    channels = Channels.of(NotificationSettings(**given))
    assert (
        channels.names("failed")
        == ("slack", "json 1", "mailto 2")
        == channels.names("recovered")
        == channels.names("test")
    )
    assert channels.names("succeeded") == ()
    other = Channels.of(NotificationSettings(**given, webhook_on_success=True, webhook_on_failure=False))
    assert (other.names("failed"), other.names("succeeded")) == (("json 1", "mailto 2"), ("slack",))


def test_a_ping() -> None:
    """The protocol of healthchecks.io; a query stays, and a log too long for it loses its beginning."""
    url = SecretStr("https://hc-ping.com/4f6b8c1e?create=1")
    made = ping(url, "fail", "the-run", ["first", "x" * BODY_BYTES, "last"])
    assert made.url.get_secret_value() == "https://hc-ping.com/4f6b8c1e/fail?create=1&rid=the-run"
    assert (len(made.body), made.body[-5:]) == (BODY_BYTES, b"\nlast")
    assert ping(url, "success", "r").url.get_secret_value() == "https://hc-ping.com/4f6b8c1e?create=1&rid=r"


def test_each_message_of_an_open_incident_has_its_own_id() -> None:
    """Whoever ignores an id that it has seen still hears of another anomaly."""
    seen = Observation(Subject.ANOMALY, NOW, bad=True, lasting=True)
    ids = {
        Writer("default", "", NOW).of_incident("failed", Incident(subject=Subject.ANOMALY, open=True, since=NOW, seen_at=NOW, parts=parts), seen, None).id
        for parts in (("a",), ("a", "b"), ("b",))
    }  # fmt: skip
    assert len(ids) == 3
