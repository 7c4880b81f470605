"""Find the public keys that a plan's backups are encrypted to, in a setting or in the file that it names."""

from __future__ import annotations

import hashlib
import hmac
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from blocks.config.age_keys import SECRET_KEY, Recipient, recipients_in
from blocks.errors import ConfigurationError, Problem

VARIABLE = "BACKUP_AGE_RECIPIENTS"
RULE = (
    "it must be public keys, never private ones (age1…, ssh-ed25519 … or ssh-rsa …), separated by commas, spaces or "
    "lines, or the path of a file with one a line"
)
ALONE = "with one recipient, one lost key loses every backup; add a second key, and keep it elsewhere"
_FILE_BYTES = 1 << 16
_PATH = re.compile(r"(?:~|\.{1,2})?/[^\0]+")
_KEY = ("age1", "ssh-", "ecdsa-", "sk-", "age-", "-----begin")
_SSH_DATA = re.compile(r"[A-Za-z0-9+/]{40,}={0,2}")


@dataclass(frozen=True)
class Encryption:
    """To whom a plan's backups are encrypted, as its setting says it; to nobody if that is empty."""

    setting: str = ""

    def __bool__(self) -> bool:
        return bool(self.setting)

    @property
    def recipients(self) -> tuple[Recipient, ...]:
        """The public keys; raises ConfigurationError if there are none, or if their file can't be read."""
        if not self.setting:
            return ()
        try:
            return tuple(recipients_of(self.setting))
        except OSError as error:
            text = f"The file in {VARIABLE} cannot be read [{self.setting}: {error.strerror}]"
            raise ConfigurationError([Problem(text, "correct the path or its rights")]) from None
        except ValueError as error:
            raise ConfigurationError([Problem(f"Invalid {VARIABLE} [{error}]", RULE)]) from None

    def marked(self, fingerprint: str) -> str:
        """Key a fingerprint that anyone may read with the public keys, which are not in the bucket; empty stays empty."""
        if not self.setting or not fingerprint:
            return fingerprint
        key = b"".join(sorted(recipient.key for recipient in self.recipients))
        return hmac.digest(hashlib.sha256(key).digest(), fingerprint.encode(), "sha256").hex()[:16]

    @property
    def alone(self) -> bool:
        """Whether a single lost key would lose everything."""
        return bool(self.setting) and len(self.recipients) < 2


def is_path(text: str) -> bool:
    """Whether a setting names a file instead of keys."""
    return bool(_PATH.fullmatch(text.strip()))


def recipients_of(text: str) -> list[Recipient]:
    """Read a setting, or the file that it names; raises ValueError, which never quotes it, or OSError."""
    if is_path(text):
        with Path(text.strip()).expanduser().open("rb") as file:
            found = recipients_in(file.read(_FILE_BYTES + 1).decode())
    else:
        found = recipients_in("\n".join(_keys_in(text)))
    if not found:
        raise ValueError("there is no public key in it")
    return found


def check_recipients(text: str) -> str:
    """Return a setting whose keys can be used; a file is read when a backup begins, where it is made."""
    if not is_path(text):
        recipients_of(text)
    return text


def _keys_in(text: str) -> Iterator[str]:
    """Yield one key after the other; an SSH key is two words, and a comment can follow it."""
    if "PRIVATE KEY" in text:
        raise ValueError("this is a private key: where backups are made, only public ones belong")
    words = iter(re.split(r"[,\s]+", text.strip(", \t\r\n")))
    after_ssh = False
    for word in words:
        if word.startswith("ssh-"):
            data = next(words, "")
            yield f"{word} {data}" if _SSH_DATA.fullmatch(data) else word
            after_ssh = True
        elif word.lower().startswith(_KEY):
            yield word
            after_ssh = False
        elif not after_ssh:
            yield SECRET_KEY if word.upper().startswith(SECRET_KEY) else "?"
