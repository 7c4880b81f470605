"""Send a message to each place on its own and at the same time: one that fails or hangs costs the others nothing."""

from __future__ import annotations

import threading
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime

from pydantic import SecretStr

from blocks import http
from blocks.config.settings import NotificationSettings
from blocks.config.values import split_urls
from blocks.errors import ConfigurationError, NotDelivered
from tasks.engine.notify import apprise
from tasks.engine.notify.forms import body_of, service_of
from tasks.engine.notify.message import Kind, Message
from tasks.engine.notify.signature import signed
from tasks.engine.notify.template import render

# A place's name, and why a message did not arrive there; empty if it did.
Results = dict[str, str]


@dataclass(frozen=True)
class Webhook:
    """An address that messages are posted to, and which of them."""

    url: SecretStr = field(repr=False)
    secret: SecretStr | None = field(default=None, repr=False)
    template: SecretStr | None = field(default=None, repr=False)
    on_success: bool = False
    on_failure: bool = True

    @property
    def name(self) -> str:
        """What it is called; its address is a secret."""
        return service_of(self.url.get_secret_value())

    def wants(self, kind: Kind) -> bool:
        """Whether messages of a kind go there."""
        return kind == "test" or (self.on_success if kind == "succeeded" else self.on_failure)

    def post(self, message: Message, now: datetime) -> http.Post:
        """Return the request; raises ConfigurationError if the template can't be rendered."""
        content = "application/json"
        if self.template:
            body, content = render(self.template.get_secret_value(), message)
        else:
            body = body_of(self.name, message)
        proof = signed(self.secret.get_secret_value(), message.id, now, body) if self.secret else {}
        given = {"Content-Type": content, "User-Agent": f"pg-roundtrip/{message.tool_version}"}
        return http.Post(self.url, body, {**given, "webhook-id": message.id, "Idempotency-Key": message.id, **proof})


@dataclass(frozen=True)
class Channels:
    """All places that are configured."""

    webhook: Webhook | None = None
    urls: tuple[SecretStr, ...] = field(default=(), repr=False)

    @classmethod
    def of(cls, settings: NotificationSettings) -> Channels:
        """Return the channels that the settings name."""
        hook = None
        if settings.webhook_url:
            hook = Webhook(settings.webhook_url, settings.webhook_secret, settings.webhook_template,
                           settings.webhook_on_success, settings.webhook_on_failure)  # fmt: skip
        urls = split_urls(settings.notify_urls.get_secret_value()) if settings.notify_urls else []
        return cls(hook, tuple(map(SecretStr, urls)))

    def names(self, kind: Kind) -> tuple[str, ...]:
        """Return the names of those that get messages of a kind."""
        hook = (self.webhook.name,) if self.webhook and self.webhook.wants(kind) else ()
        return hook + (() if kind == "succeeded" else tuple(self._named()))

    def _named(self) -> Mapping[str, SecretStr]:
        """Return apprise's addresses by name: their service and their place in the list."""
        return {f"{u.get_secret_value().partition(':')[0]} {n}": u for n, u in enumerate(self.urls, 1)}

    def send(self, message: Message, to: Collection[str], now: datetime, within_s: float) -> Results:
        """Send to the named channels; return how each of them took it."""
        jobs: list[tuple[Sequence[str], Callable[[], Results]]] = []
        hook = self.webhook
        if hook and hook.name in to:
            jobs.append(((hook.name,), lambda: {hook.name: _posted(hook, message, now, within_s)}))
        urls = {name: url for name, url in self._named().items() if name in to}
        if urls:
            jobs.append((list(urls), lambda: apprise.send(urls, message, within_s)))
        return together(jobs, within_s)

    def faults(self, message: Message, now: datetime) -> Results:
        """Return what is wrong with each channel, as far as that shows without sending; empty if nothing is."""
        found: Results = {}
        if self.webhook:
            try:
                self.webhook.post(message, now)
                found[self.webhook.name] = ""
            except ConfigurationError as error:
                found[self.webhook.name] = error.sentence
        return {**found, **(apprise.faults(self._named()) if self.urls else {})}


def _posted(hook: Webhook, message: Message, now: datetime, within_s: float) -> str:
    try:
        http.send(hook.post(message, now), within_s)
    except (NotDelivered, ConfigurationError) as error:
        return error.context or error.message
    return ""


def together(jobs: Sequence[tuple[Sequence[str], Callable[[], Results]]], within_s: float) -> Results:
    """Do all jobs at once, and wait no longer than this; what is not done by then has failed."""
    results = {name: "no answer in time" for names, _ in jobs for name in names}

    def work(names: Sequence[str], job: Callable[[], Results]) -> None:
        try:
            results.update(job())
        except Exception as error:  # noqa: BLE001  (a message must never be the cause of harm)
            results.update(dict.fromkeys(names, type(error).__name__))

    threads = [threading.Thread(target=work, args=job, name="notify", daemon=True) for job in jobs]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(within_s + 1)
    return dict(results)
