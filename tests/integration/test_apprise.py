"""Mail and the other services of apprise get the same messages, from a process of its own."""

from __future__ import annotations

import email
import email.policy
import os
import threading
from collections.abc import Callable, Iterator
from typing import Any

import psutil
import pytest
from aiosmtpd.controller import Controller
from aiosmtpd.smtp import AuthResult, LoginPassword
from pydantic import SecretStr

from flows.demo.services import free_ports
from tasks.engine.notify.apprise import NOT_AN_ADDRESS
from tasks.engine.notify.apprise_program import without_secrets
from tasks.engine.notify.channels import Channels
from tests.conftest import Ended
from tests.receivers import receiving
from tests.unit.test_messages import NOW, message

USER, PASSWORD = "keeper", "hunter2-of-mail"


class Mailbox:
    """What a mail server takes: only mail of those who log in."""

    def __init__(self) -> None:
        self.mails: list[Any] = []

    async def handle_DATA(self, _server: Any, _session: Any, envelope: Any) -> str:  # noqa: N802  (aiosmtpd's name)
        self.mails.append(email.message_from_bytes(envelope.content, policy=email.policy.default))
        return "250 OK"


def _login(_server: Any, _session: Any, _envelope: Any, _mechanism: str, given: Any) -> AuthResult:
    assert isinstance(given, LoginPassword)
    return AuthResult(success=(given.login, given.password) == (USER.encode(), PASSWORD.encode()), handled=False)


# aiosmtpd warns of what is fine on loopback.
pytestmark = pytest.mark.filterwarnings("ignore:Requiring AUTH while not requiring TLS")


@pytest.fixture(scope="module")
def mail_server() -> Iterator[tuple[Mailbox, int]]:
    """A real SMTP server, and its port."""
    mailbox = Mailbox()
    (port,) = free_ports(1)
    server = Controller(
        mailbox, hostname="127.0.0.1", port=port, authenticator=_login, auth_required=True, auth_require_tls=False
    )
    server.start()
    yield mailbox, port
    server.stop()


def address(port: int, password: str = PASSWORD) -> SecretStr:
    return SecretStr(
        f"mailto://{USER}:{password}@127.0.0.1:{port}?smtp=127.0.0.1&from=pg@example.com&to=ops@example.com&mode=insecure"
    )


def test_a_mail(mail_server: tuple[Mailbox, int]) -> None:
    """A mail with the title, every line and the id; addresses that are wrong, refuse the login or hang cost it nothing."""
    mailbox, port = mail_server
    arguments: set[str] = set()
    over = threading.Event()

    def watch() -> None:
        while not over.wait(0.01):
            for child in psutil.Process(os.getpid()).children(recursive=True):
                try:
                    arguments.update(child.cmdline())
                except psutil.Error:
                    continue

    watcher = threading.Thread(target=watch)
    watcher.start()
    with receiving() as receiver:
        receiver.always = "hang"
        hanging = SecretStr(f"json://127.0.0.1:{receiver.port}/hunter2?rto=60")
        channels = Channels(
            urls=(address(port), SecretStr("nothing://such/address"), address(port, "wrong-hunter2"), hanging)
        )
        results = channels.send(message(), channels.names("failed"), NOW, 15)
    over.set()
    watcher.join()
    assert results["json 4"] == "no answer in time"
    assert results["mailto 1"] == ""
    assert results["nothing 2"] == NOT_AN_ADDRESS
    assert results["mailto 3"] not in ("", "apprise does not say why", "no answer in time")
    (mail,) = mailbox.mails
    text = mail.get_body(("plain",)).get_content()
    assert mail["Subject"] == "Backup failed (default)"
    assert all(line in text.replace("\r\n", "\n") for line in message().lines())
    assert message().id in text
    assert any("apprise_program" in argument for argument in arguments)
    assert not any("hunter2" in argument for argument in arguments)
    assert "hunter2" not in str(results)


def test_what_apprise_says_is_cleaned() -> None:
    """Its reasons may quote the address."""
    url = "tgram://123456789:AbCdEf-t0ken/987654321"
    said = (
        "Failed to send to https://api.telegram.org/bot123456789:AbCdEf-t0ken/send (error=401) AbCdEf-t0ken 987654321."
    )
    cleaned = without_secrets(said, url)
    assert cleaned == "Failed to send to … (error=401) … …."
    assert len(without_secrets("x" * 1000, url)) <= 200


def test_notify_test(command_line: Callable[..., Ended], mail_server: tuple[Mailbox, int]) -> None:
    """`notify --test` says which channel a message reached; `check` finds a wrong address without sending anything."""
    with receiving() as receiver:
        good = {
            "WEBHOOK_URL": receiver.url, "PING_URL": receiver.url.replace("hook", "ping"),
            "NOTIFY_URLS": address(mail_server[1]).get_secret_value(),
        }  # fmt: skip
        mailbox, before = mail_server[0], len(mail_server[0].mails)
        ended = command_line("notify", "--test", **good)
        assert (ended.status, ended.out) == (0, "webhook: delivered\nmailto 1: delivered\nping: delivered\n"), ended.err
        assert (receiver.paths(), len(mailbox.mails)) == (["/hook", "/ping/log"], before + 1)
        receiver.always = 404
        bad = {**good, "NOTIFY_URLS": "nothing://such/address", "WEBHOOK_TEMPLATE": "{{ headline }}"}
        ended = command_line("notify", "--test", **bad)
        assert ended.status == 1
        assert ended.out.splitlines() == [
            "webhook: not delivered [WEBHOOK_TEMPLATE cannot be rendered: UndefinedError]",
            f"nothing 1: not delivered [{NOT_AN_ADDRESS}]",
            "ping: not delivered [HTTP status 404]",
        ]
        asked = len(receiver.got)
        ended = command_line("check", DATABASE_URL="postgresql://x:y@127.0.0.1:1/z", **bad)
        assert ended.status == 1
        assert f"notify by nothing 1  {NOT_AN_ADDRESS}" in ended.out.replace("   ", "  ")
        assert "notify by webhook" in ended.out
        assert len(receiver.got) == asked
    ended = command_line("notify", "--test", WEBHOOK_URL="not an address")
    assert (ended.status, "ERROR: Invalid WEBHOOK_URL format" in ended.err) == (2, True)
