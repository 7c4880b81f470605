"""Messages are posted again as long as that may help, as late as they are asked to, and nowhere else."""

from __future__ import annotations

import logging
import socket
from collections.abc import Iterator

import pytest
from pydantic import SecretStr

from blocks import http
from blocks.errors import NotDelivered
from blocks.http import Post, send
from tests.receivers import Receiver, receiving


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with receiving() as made:
        yield made


@pytest.fixture
def waits(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The waits between attempts, which are not waited for."""
    waited: list[float] = []
    monkeypatch.setattr("blocks.http.time.sleep", waited.append)
    return waited


def post(url: str) -> Post:
    return Post(SecretStr(url), b"{}", {"Idempotency-Key": "the same"})


def test_what_may_pass_is_tried_again(receiver: Receiver, waits: list[float]) -> None:
    """Errors of the server, a connection that is reset and too many requests; each wait is longer, and the id the same."""
    receiver.answers.extend([500, "reset", 502, 429])
    send(post(receiver.url), 60)
    assert len(receiver.got) == 5
    assert {got.headers["Idempotency-Key"] for got in receiver.got} == {"the same"}
    assert [0.5 * 2**n <= wait <= 2**n for n, wait in enumerate(waits)] == [True] * 4


def test_retry_after_is_heeded(receiver: Receiver, waits: list[float]) -> None:
    """A receiver that says when to come back is not asked before."""
    receiver.answers.extend([(429, {"Retry-After": "7"}), (503, {"Retry-After": "3"})])
    send(post(receiver.url), 60)
    assert [7 <= waits[0] < 8, 3 <= waits[1] < 4, len(receiver.got)] == [True, True, 3]


@pytest.mark.parametrize("status", [400, 401, 403, 404, 410, 301, 307])
def test_what_will_not_pass_is_not_tried_again(status: int, receiver: Receiver, waits: list[float]) -> None:
    """A request that is refused, and one that is sent elsewhere: the body goes nowhere but to the configured address."""
    with receiving() as elsewhere:
        receiver.always = (status, {"Location": elsewhere.url})
        with pytest.raises(NotDelivered, match=f"HTTP status {status}"):
            send(post(receiver.url), 60)
        assert (len(receiver.got), elsewhere.got, waits) == (1, [], [])


def test_a_receiver_that_hangs(receiver: Receiver, monkeypatch: pytest.MonkeyPatch) -> None:
    """It costs no more than the time that a message has."""
    monkeypatch.setattr(http, "_ATTEMPT_S", 0.2)
    receiver.always = "hang"
    with pytest.raises(NotDelivered, match="no answer in time"):
        send(post(receiver.url), 1)
    assert receiver.got


def test_a_receiver_that_answers_byte_by_byte(receiver: Receiver, monkeypatch: pytest.MonkeyPatch) -> None:
    """No read of it is late, and the answer never ends; the message's time is over all the same."""
    monkeypatch.setattr(http, "_ATTEMPT_S", 0.5)
    receiver.always = "drip"
    with pytest.raises(NotDelivered, match="no answer in time"):
        send(post(receiver.url), 0.6)
    assert receiver.drops > 1


def test_one_that_asks_to_come_back_too_late(receiver: Receiver, waits: list[float]) -> None:
    """A wait beyond the time that a message has is left to the next look."""
    receiver.always = (429, {"Retry-After": "3600"})
    with pytest.raises(NotDelivered) as raised:
        send(post(receiver.url), 5)
    assert (raised.value.transient, len(receiver.got), waits) == (True, 1, [])


def test_no_address_is_told(caplog: pytest.LogCaptureFixture) -> None:
    """Neither an error nor the libraries' log contains it."""
    caplog.set_level(logging.DEBUG)
    with socket.create_server(("127.0.0.1", 0)) as closed:
        port = closed.getsockname()[1]
    for url in (
        f"http://user:t0ken@127.0.0.1:{port}/t0ken",
        "http://no-such-host.invalid/t0ken",
        "http://[t0ken/",
        f"http://127.0.0.1:{port}/t0ken\u0000",
    ):
        with pytest.raises(NotDelivered) as raised:
            send(post(url), 0.5)
        assert "t0ken" not in str(raised.value)
    assert "t0ken" not in repr(post("http://t0ken/"))
    assert "t0ken" not in caplog.text


def test_a_certificate_that_nobody_signed(tmp_path: object) -> None:
    """Certificates are checked: a receiver without a valid one gets nothing."""
    with receiving() as plain, pytest.raises(NotDelivered):
        send(post(plain.url.replace("http:", "https:")), 0.5)
    assert plain.got == []
