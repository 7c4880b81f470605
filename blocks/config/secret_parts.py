"""Find what is secret in a secret: somebody else's variable may hold only the password of our URL, or the token of our address."""

from __future__ import annotations

import base64
import re
from collections.abc import Iterator
from contextlib import suppress
from urllib.parse import unquote_plus

from blocks.config.values import private_key_in, split_urls
from blocks.sql.url import SECRET_PARAMETERS, is_database_url, parse_database_url

_LINE = 16  # of a key that is written in several lines
_TOKEN = 8  # a shorter word of an address is hardly a token
_OF_WEBHOOKS = "whsec_"
_NO_KEY = re.compile(r"\s+|\\[rn]|-----[A-Z ]+-----")
# What is before an @: as a URL's form demands only one, but a password that is not encoded can have more.
_USER = re.compile(r"[^:@/]*:")
_SECRET_VALUE = re.compile(rf"[?&](?:{'|'.join(sorted(SECRET_PARAMETERS))})=([^&\s]+)")
# In these the host is always a host; in the others of apprise it can be a token.
_WITH_HOST = {"http", "json", "xml", "form", "mailto", "gotify", "hassio", "mmost", "mqtt", "rocket"}
_HOST = re.compile(r"(?:[a-z0-9_-]+\.)+[a-z]{2,}|[0-9]{1,3}(?:\.[0-9]{1,3}){3}|localhost")
_MAIL_ADDRESS = re.compile(rf"[^\s@]+@(?:{_HOST.pattern})")
_WORD = re.compile(r"[A-Z]?[a-z]+(?:[-_.][A-Za-z][a-z]*|[A-Z][a-z]+)*")
# Parameters of apprise and of Teams that hold no secret.
_NO_SECRETS = {"to", "from", "cc", "bcc", "name", "user", "format", "overflow", "smtp", "mode", "region", "api-version", "sp", "sv"}  # fmt: skip


def parts_of(secret: str) -> Iterator[str]:
    """Yield a secret, and all that is secret in it if it is a key, or if there are addresses in it."""
    yield secret
    yield from _of_key(secret)
    if is_database_url(secret):  # libpq takes spaces in one
        yield from _of_database(secret)
    for address in split_urls(secret):
        if "://" in address:
            yield address
            yield from _of_database(address) if is_database_url(address) else _of_service(address)


def _of_key(secret: str) -> Iterator[str]:
    """Yield what a key consists of, however it is written: its first and last lines are the same for all keys."""
    yield from (piece for piece in _NO_KEY.split(secret) if len(piece) >= _LINE)
    with suppress(ValueError):
        yield base64.b64encode(private_key_in(secret)).decode()
    if secret.startswith(_OF_WEBHOOKS):
        yield secret.removeprefix(_OF_WEBHOOKS)


def _of_database(url: str) -> Iterator[str]:
    """Yield the passwords that libpq reads from a URL, and what they may be as it is written, or if it is invalid."""
    with suppress(ValueError):
        parameters, _ = parse_database_url(url)
        yield from (parameters.get(name, "") for name in SECRET_PARAMETERS)
    yield from _passwords(url)
    yield from _SECRET_VALUE.findall(url)


def _passwords(address: str) -> Iterator[str]:
    """Yield what is between the user and each @, without a look at what else could end a password."""
    rest = address.partition("://")[2]
    if user := _USER.match(rest):
        yield from (rest[user.end() : at.start()] for at in re.finditer("@", rest))


def _of_service(address: str) -> Iterator[str]:
    """Yield what may be a token in an address: services put it wherever they like.

    Names of hosts and mail addresses are none. A word such as `webhooks` is one only where nothing else can be.
    """
    passwords = [*filter(None, _passwords(address))]
    scheme, _, rest = address.partition("://")
    place, _, query = rest.partition("?")
    path = place.partition("/")[2]
    if scheme.lower() in ("http", "https") and len(path) >= _LINE:
        yield f"/{path}"
    words = [*_of_netloc(address), *re.split(r"[/@:#]", path)]
    long = [word for word in words if len(word) >= _TOKEN and not _HOST.fullmatch(word)]
    tokens = [*passwords, *_of_query(query), *(word for word in long if not _WORD.fullmatch(word))]
    yield from tokens or long


def _of_netloc(address: str) -> Iterator[str]:
    scheme, _, rest = address.partition("://")
    login, _, host = re.split(r"[/?]", rest, maxsplit=1)[0].rpartition("@")
    with_host = scheme.lower().removesuffix("s") in _WITH_HOST
    user, _, password = login.partition(":")
    if not (with_host and password):
        yield user
    if not with_host:
        yield from host.split(":")


def _of_query(query: str) -> Iterator[str]:
    for pair in query.split("&"):
        name, _, value = pair.partition("=")
        if name.lower() in _NO_SECRETS:
            continue
        # A header's value has the kind of a token before the token.
        for word in {value, value.partition("#")[0], *unquote_plus(value).split()}:
            if len(word) >= _TOKEN and not _HOST.fullmatch(word) and not _MAIL_ADDRESS.fullmatch(word):
                yield word
