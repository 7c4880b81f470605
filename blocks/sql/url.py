"""Parse pasted database URLs as libpq does, but tolerate what libpq would reject."""

from __future__ import annotations

import re
from urllib.parse import quote, urlencode

import psycopg
from psycopg import conninfo, pq

_SCHEME = re.compile(r"postgres(ql)?(\+[a-z0-9_]+)?://", re.IGNORECASE)
_LOGIN = re.compile(r"[^@/]*@")
# Those of libpq's parameters that are secrets.
SECRET_PARAMETERS = frozenset(
    {"password", "sslpassword", "oauth_client_secret", "scram_client_key", "scram_server_key"}
)
_PARAMETER = re.compile(r"[A-Za-z][A-Za-z0-9_.-]*")


def is_database_url(text: str) -> bool:
    """Whether a text is meant as a database URL, valid or not."""
    return _SCHEME.match(text) is not None


def parse_database_url(url: str) -> tuple[dict[str, str], list[str]]:
    """Split a database URL into libpq parameters and the names of those that libpq does not know.

    URLs in the wild carry parameters of other libraries (`?pgbouncer=true`, `?schema=public`): drop them, and return
    their names so that the caller can warn. Raises ValueError with a reason that contains no secret.
    """
    scheme = _SCHEME.match(url)
    if not scheme:
        raise ValueError("it does not begin with postgresql://")
    known = {o.keyword.decode(): bool(o.envvar) for o in pq.Conninfo.get_defaults()}
    # As in libpq: the login ends at the first @ that no slash precedes; only after it can a ? start the parameters.
    login = _LOGIN.match(url, scheme.end())
    begin = login.end() if login else scheme.end()
    place, _, query = url[begin:].partition("?")
    if "@" in place or "\0" in url:
        # Otherwise part of the password would be mistaken for the host or the database, and displayed.
        raise ValueError("a special character in it is not written as %XX")
    pairs = [p for p in query.split("&") if p]
    # `ssl=true` is libpq's own alias for sslmode=require; it is not listed among the keywords.
    kept = [p for p in pairs if p.partition("=")[0] in known or p == "ssl=true"]
    dropped = [p.partition("=")[0] for p in pairs if p not in kept]
    if not all(_PARAMETER.fullmatch(name) for name in dropped):
        raise ValueError("a special character in it is not written as %XX")
    try:
        parsed = conninfo.conninfo_to_dict("postgresql://" + url[scheme.end() : begin] + place + "?" + "&".join(kept))
    except (psycopg.Error, ValueError):
        raise ValueError("host, port or parameters cannot be read") from None
    parameters = {name: str(value) for name, value in parsed.items() if value is not None}
    if not all(map(_is_port, parameters.get("port", "").split(","))):  # one for each host
        raise ValueError("the port is not a number")
    if not parameters.get("host") and not parameters.get("hostaddr"):
        raise ValueError("it names no host")
    if not parameters.get("dbname"):
        raise ValueError("it names no database")
    return parameters, dropped


def _is_port(text: str) -> bool:
    return not text or (re.fullmatch("[0-9]{1,5}", text) is not None and 0 < int(text) < 65536)


def conninfo_url(parameters: dict[str, str]) -> str:
    """Format libpq parameters as a URL, all in the query string, so that no character needs special treatment."""
    return "postgresql:///?" + urlencode(parameters, quote_via=quote)


def application_url(parameters: dict[str, str]) -> str:
    """Format libpq parameters as applications expect a URL: with login, host and port in their usual places."""
    rest = dict(parameters)
    user, password, database = (quote(rest.pop(name, ""), safe="") for name in ("user", "password", "dbname"))
    login = f"{user}:{password}@" if password else f"{user}@" if user else ""
    host = rest.get("host", "")
    place = ""
    if host and not re.search("[/,]", host):  # no socket, and a single one
        place = f"[{host}]" if ":" in host else quote(host, safe="")
        port = rest.pop("port", "")
        place += f":{port}" if port else ""
        del rest["host"]
    query = urlencode(rest, quote_via=quote)
    return f"postgresql://{login}{place}/{database}" + (f"?{query}" if query else "")
