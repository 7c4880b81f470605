"""Know every secret of ours, so that none leaves in the environment or in the output of somebody else's program."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator
from typing import get_args
from urllib.parse import parse_qs, quote, quote_plus, unquote, unquote_plus, urlsplit

from pydantic import SecretStr

from blocks.config.environment import variable
from blocks.config.hook_settings import HookSettings
from blocks.config.load import variable_of
from blocks.config.plan import Plan
from blocks.config.settings import Settings

MASKED = "***"
_SHORTEST = 4  # a shorter word would be masked inside of others
_LINE = 16  # of a key that is written in several lines
_PREFECTS = ("PREFECT_API_KEY", "PREFECT_API_AUTH_STRING")
_NO_SECRETS = {*HookSettings.model_fields, "webhook_template"}
_IN_QUERY = ("password", "sslpassword")
_WAYS = (
    str, quote, quote_plus, lambda text: quote(text, safe=""), unquote, unquote_plus,
    lambda text: json.dumps(text)[1:-1], lambda text: json.dumps(text, ensure_ascii=False)[1:-1],
)  # fmt: skip


class Mask:
    """Replace secrets in a text, whether they are written as they are, as in JSON, URL-encoded or decoded."""

    def __init__(self, secrets: Iterable[str]) -> None:
        self._secrets = tuple(secrets)
        forms = {way(part) for secret in self._secrets for part in _parts(secret) for way in _WAYS}
        longest_first = sorted((form for form in forms if len(form) >= _SHORTEST), key=len, reverse=True)
        self._pattern = re.compile("|".join(map(re.escape, longest_first)), re.IGNORECASE) if longest_first else None
        self.longest = len(longest_first[0]) if longest_first else 0

    def __call__(self, text: str) -> str:
        """Return the text with `***` in place of each secret."""
        return self._pattern.sub(MASKED, text) if self._pattern else text

    def __repr__(self) -> str:
        return "Mask()"

    def hides(self, value: str) -> bool:
        """Whether a secret is anywhere in a value, even if only some of its characters are URL-encoded."""
        found = self._pattern.search if self._pattern else (lambda _: None)
        return any(found(form) for form in (value, unquote(value), unquote_plus(value)))

    def with_more(self, secrets: Iterable[str]) -> Mask:
        """Return a mask that replaces these, too."""
        return Mask([*self._secrets, *secrets])


def mask_of(plan: Plan | None) -> Mask:
    """Return the mask of what the environment and a plan keep secret."""
    return Mask([*_in_environment(), *(_of_plan(plan) if plan else ())])


def _in_environment() -> Iterator[str]:
    """Yield the values of variables whether they are valid or not."""
    secret = (name for name, field in Settings.model_fields.items() if _is_secret(field.annotation))
    names = [variable_of(name) for name in secret if name not in _NO_SECRETS]
    return filter(None, (variable(name).strip() for name in (*names, *_PREFECTS)))


def _of_plan(plan: Plan) -> Iterator[str]:
    secrets = [server.url for server in (plan.server, plan.drill.server) if server] + [plan.storage.secret]
    return (secret.get_secret_value() for secret in secrets if secret)


def _is_secret(annotation: object) -> bool:
    return annotation is SecretStr or any(map(_is_secret, get_args(annotation)))


def _parts(secret: str) -> Iterator[str]:
    """Yield a secret, its lines if it has several, and what is secret in the addresses in it."""
    yield secret
    # The first and last lines of a key are the same for all keys.
    yield from (line for line in secret.splitlines() if len(line) >= _LINE and not line.startswith("-----"))
    for address in re.findall(r"\w+://\S+", secret):
        yield address
        try:
            found = urlsplit(address)
            yield found.password or ""
        except ValueError:
            continue
        for values in map(parse_qs(found.query).get, _IN_QUERY):
            yield from values or ()
        if found.scheme.startswith("http") and len(found.path) > _LINE:
            yield found.path
