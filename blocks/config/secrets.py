"""Know every secret of ours, so that none leaves in the environment or in the output of somebody else's program."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator
from typing import get_args
from urllib.parse import quote, quote_plus, unquote, unquote_plus

from pydantic import SecretStr

from blocks.config.environment import variable
from blocks.config.hook_settings import HookSettings
from blocks.config.load import variable_of
from blocks.config.plan import Plan
from blocks.config.secret_parts import parts_of
from blocks.config.settings import Settings
from blocks.s3.session import found_secrets

MASKED = "***"
_SHORTEST = 4  # a shorter word would be masked inside of others
_KEY = 40  # what is as long is found across lines, too
_LOGIN = "PREFECT_API_AUTH_STRING"  # user:password
# Those that other software reads, in our process: Prefect, and the AWS SDK where it is to look for keys.
_OTHERS = ("PREFECT_API_KEY", _LOGIN, "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN", "AWS_CONTAINER_AUTHORIZATION_TOKEN")
_NO_SECRETS = {*HookSettings.model_fields, "webhook_template"}
_WAYS = (
    str, quote, quote_plus, lambda text: quote(text, safe=""), unquote, unquote_plus,
    lambda text: json.dumps(text)[1:-1], lambda text: json.dumps(text, ensure_ascii=False)[1:-1],
)  # fmt: skip
_LINE_END = re.compile(r"\s|\\[rn]")


class Mask:
    """Replace secrets in a text, whether written as they are, URL-encoded, decoded, as in JSON, or with backslashes."""

    def __init__(self, secrets: Iterable[str]) -> None:
        self._secrets = tuple(secrets)
        forms = {way(part) for secret in self._secrets for part in parts_of(secret) for way in _WAYS}
        longest_first = sorted((form for form in forms if len(form) >= _SHORTEST), key=len, reverse=True)
        self._pattern = (
            re.compile("|".join(map(_escaped_or_not, longest_first)), re.IGNORECASE) if longest_first else None
        )
        self._keys = [form for form in longest_first if len(form) >= _KEY]
        self.longest = 2 * len(longest_first[0]) if longest_first else 0

    def __call__(self, text: str) -> str:
        """Return the text with `***` in place of each secret."""
        return self._pattern.sub(MASKED, text) if self._pattern else text

    def __repr__(self) -> str:
        return "Mask()"

    def hides(self, value: str) -> bool:
        """Whether a secret is anywhere in a value, even if only some characters are URL-encoded, or a key has other lines."""
        found = self._pattern.search if self._pattern else (lambda _: None)
        if any(found(form) for form in (value, unquote(value), unquote_plus(value))):
            return True
        in_one_line = _LINE_END.sub("", value)
        return any(key in in_one_line for key in self._keys)

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
    values = [variable(name).strip() for name in (*names, *_OTHERS)]
    return filter(None, (*values, variable(_LOGIN).strip().partition(":")[2]))


def _of_plan(plan: Plan) -> Iterator[str]:
    secrets = [server.url for server in (plan.server, plan.drill.server) if server]
    keys = (place.storage.secret for place in plan.destinations)
    yield from (secret.get_secret_value() for secret in (*secrets, *keys) if secret)
    yield from found_secrets()


def _escaped_or_not(form: str) -> str:
    """Return a pattern of a text, in which a connection string or a shell may have a backslash before each odd character."""
    return "".join(c if c.isalnum() else r"\\?" + re.escape(c) for c in form)


def _is_secret(annotation: object) -> bool:
    return annotation is SecretStr or any(map(_is_secret, get_args(annotation)))
