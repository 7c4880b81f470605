"""Define the valid values of each kind of setting, so that unusable ones are rejected before anything runs."""

from __future__ import annotations

import base64
import re
from typing import Annotated
from urllib.parse import quote, unquote, urlsplit

from pydantic import AfterValidator, Field, SecretStr

from blocks.config.says import Rule
from blocks.config.schedule import check_cron, check_timezone
from blocks.sql.url import parse_database_url

# Prefect's rule for the names of blocks, which plans and servers are.
BLOCK_NAME = "^[a-z0-9]+(-[a-z0-9]+)*$"
FLOWS = ("backup", "prune", "restore-drill", "restore")
_KEY_BYTES = 32
_URL = re.compile(r"[A-Za-z0-9]+://\S+")
# All that precedes the 32 bytes of an Ed25519 private key in PKCS #8, as OpenSSL and others write it.
_ED25519 = bytes.fromhex("302e020100300506032b657004220420")


def _database_url(value: SecretStr) -> SecretStr:
    parse_database_url(value.get_secret_value())
    return value


def host_in_url(value: str) -> str:
    """Format a host name or address for a URL."""
    return f"[{value}]" if ":" in value else quote(value, safe="")


def _host_name(value: str) -> str:
    if "@" in value[1:] or "://" in value:
        raise ValueError("a URL, which may hold a password")
    parse_database_url(f"postgresql://{host_in_url(value)}/any")
    return value


def _http_address(value: str) -> str:
    parts = urlsplit(value)
    if parts.scheme not in ("http", "https") or not parts.hostname or parts.port == 0 or "@" in parts.netloc:
        raise ValueError("not an http address")
    return value.rstrip("/")


def _storage_address(value: str) -> str:
    if not value.startswith("file:"):
        return _http_address(value)
    parts = urlsplit(value)
    if parts.netloc not in ("", "localhost") or parts.query or parts.fragment:
        raise ValueError("a folder of another machine")
    return f"file://{quote(folder_path(unquote(parts.path)))}"


def folder_path(value: str) -> str:
    """Return the whole path of a folder; raises ValueError."""
    path = "/" + value.strip("/")
    if not value.startswith("/") or path == "/" or "\0" in path or not {"", ".", ".."}.isdisjoint(path.split("/")[1:]):
        raise ValueError("not the path of a folder")
    return path


def _bucket_name(value: str) -> str:
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]{1,254}", value):
        raise ValueError("not a bucket name")
    return value


def _backup_file(value: str) -> str:
    if not re.fullmatch(r"backup_[0-9]{8}_[0-9]{6}(\.sql\.gz(\.age)?)?", value):
        raise ValueError("not a backup's name")
    return value


def _folder(value: str) -> str:
    folder = value.strip("/")
    if folder and any(part in ("", ".", "..") for part in folder.split("/")):
        raise ValueError("not a folder's name")  # some storages would list it under another name
    return folder


def _user_name(value: str) -> str:
    if ":" in value:
        raise ValueError("a colon ends a user name")
    return value


def _flow_names(value: str) -> str:
    names = [name.strip() for name in value.split(",")]
    if not set(names) <= set(FLOWS):
        raise ValueError("not the name of a flow")
    return ",".join(name for name in FLOWS if name in names)


def _web_address(value: SecretStr) -> SecretStr:
    parts = urlsplit(value.get_secret_value())
    if parts.scheme not in ("http", "https") or not parts.hostname or parts.port == 0:
        raise ValueError("not an http address")
    return value


def split_urls(value: str) -> list[str]:
    """Return the addresses in a list: one may contain a comma, but what follows a separator begins with a scheme."""
    return [url for url in re.split(r",*\s[\s,]*|,+(?=[A-Za-z0-9]+://)", value.strip(" \t\r\n,")) if url]


def usable_urls(value: str | SecretStr) -> str:
    """Return a list without what is no address."""
    urls = split_urls(value.get_secret_value() if isinstance(value, SecretStr) else value)
    return " ".join(url for url in urls if _URL.fullmatch(url))


def _notify_urls(value: SecretStr) -> SecretStr:
    if not all(map(_URL.fullmatch, split_urls(value.get_secret_value()))):
        raise ValueError("not an address")
    return value


def _template(value: SecretStr) -> SecretStr:
    from jinja2 import TemplateError  # noqa: PLC0415  (most have no template)
    from jinja2.sandbox import SandboxedEnvironment  # noqa: PLC0415

    try:
        SandboxedEnvironment().parse(value.get_secret_value())
    except (TemplateError, RecursionError):
        raise ValueError("not a template") from None
    return value


def _unproven_after(value: int) -> int:
    if 0 < value < 60:
        raise ValueError("too often")
    return value


def _encryption_key(value: SecretStr) -> SecretStr:
    if len(base64.urlsafe_b64decode(value.get_secret_value())) != _KEY_BYTES:
        raise ValueError("not a key")
    return value


def private_key_in(text: str) -> bytes:
    """Return the DER of an Ed25519 private key (RFC 8410) given in PEM, in one line or several, or in base64.

    Raises ValueError for anything else.
    """
    body = re.sub(r"-----[A-Z ]+-----|\\n|\s", "", text)
    data = base64.b64decode(body, validate=True)
    if data.startswith(b"-----BEGIN PRIVATE KEY-----"):
        return private_key_in(data.decode())
    if not data.startswith(_ED25519) or len(data) != len(_ED25519) + _KEY_BYTES:
        raise ValueError("not an Ed25519 private key")
    return data


def _signing_key(value: SecretStr) -> SecretStr:
    private_key_in(value.get_secret_value())
    return value


URL_RULE = "it looks like postgresql://user:password@host:5432/database; write special characters as %XX"
DatabaseUrl = Annotated[SecretStr, AfterValidator(_database_url), Rule(URL_RULE)]
Seconds = Annotated[int, Field(ge=60), Rule("it must be a whole number of seconds, 60 or more")]
RetentionDays = Annotated[int, Field(ge=1, le=36500), Rule("it must be a whole number of days, 1 or more")]
# Unset means no rule. Reject 0: nobody who writes it wants everything removed.
Count = (
    Annotated[
        int, Field(ge=1, le=100_000), Rule("it must be a whole number, 1 or more; leave it unset to disable the rule")
    ]
    | None
)
Level = Annotated[int, Field(ge=1, le=9), Rule("it must be a whole number from 1 to 9")]
Port = Annotated[int, Field(ge=1, le=65535), Rule("it must be a whole number from 1 to 65535")]
Cron = Annotated[str, AfterValidator(check_cron), Rule(
    "it has five fields, for example 0 3 * * * for three o'clock every night; TZ sets the time zone"
)]  # fmt: skip
HostName = Annotated[str, AfterValidator(_host_name), Rule(
    "give only the host's name or address, without a port or brackets"
)]  # fmt: skip
StorageAddress = Annotated[str, AfterValidator(_storage_address), Rule(
    "it must begin with https:// or http://, name a host and contain no keys; file:///mnt/backups is a folder"
)]  # fmt: skip
FolderPath = Annotated[str, AfterValidator(folder_path), Rule(
    "it must be the whole path of a folder, such as /mnt/backups, without empty, . or .. parts"
)]  # fmt: skip
BucketName = Annotated[str, AfterValidator(_bucket_name), Rule(
    "give only the bucket's name, without s3:// or a path"
)]  # fmt: skip
BackupFile = Annotated[str, AfterValidator(_backup_file), Rule("it looks like backup_20240207_143022.sql.gz")]
Folder = Annotated[str, AfterValidator(_folder), Rule(
    "it looks like production/backups, without empty, . or .. parts"
)]  # fmt: skip
UserName = Annotated[str, AfterValidator(_user_name), Rule("it must not be empty or contain a colon")]
FlowNames = Annotated[str, AfterValidator(_flow_names), Rule(
    "it must name one or more of backup, prune, restore-drill and restore, separated by commas"
)]  # fmt: skip
TimeZone = Annotated[
    str, AfterValidator(check_timezone), Rule("it must name a time zone, such as Europe/Berlin or UTC")
]
WebAddress = Annotated[SecretStr, AfterValidator(_web_address), Rule(
    "it must begin with https:// or http:// and name a host"
)]  # fmt: skip
NotifyUrls = Annotated[SecretStr, AfterValidator(_notify_urls), Rule(
    "it must be addresses such as mailto://user:password@example.com, separated by spaces"
)]  # fmt: skip
WebhookTemplate = Annotated[SecretStr, AfterValidator(_template), Rule("it must be a template of Jinja2")]
UnprovenAfter = Annotated[int, Field(ge=0), AfterValidator(_unproven_after), Rule(
    "it must be a whole number of seconds, 60 or more, or 0 for never"
)]  # fmt: skip
EncryptionKey = Annotated[SecretStr, AfterValidator(_encryption_key), Rule(
    "it must be 32 bytes in URL-safe base64: 43 characters and an equals sign"
)]  # fmt: skip
SIGNING_KEY_RULE = (
    "it must be an unencrypted Ed25519 private key in PEM, or its base64: pg-roundtrip evidence key makes one"
)
SigningKey = Annotated[SecretStr, AfterValidator(_signing_key), Rule(SIGNING_KEY_RULE)]
