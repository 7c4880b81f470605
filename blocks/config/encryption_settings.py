"""The settings of encryption: public keys where backups are made, private ones where they are read."""

from __future__ import annotations

from typing import Annotated

from pydantic import AfterValidator, BaseModel, SecretStr

from blocks.config.age_keys import bech32_decoded, lines_in
from blocks.config.encryption import RULE, check_recipients
from blocks.config.says import Rule, Says

_IDENTITY_RULE = (
    "it must be a private key: AGE-SECRET-KEY-1…, or the text of an OpenSSH key, without a passphrase, because nobody "
    "is there to type one when a drill is due"
)


def _identity(value: SecretStr) -> SecretStr:
    text = value.get_secret_value()
    if "-----BEGIN" not in text:
        keys = [key for _, line in lines_in(text.replace("\\n", "\n")) for key in line.split()]
        if not keys or not all(bech32_decoded(key)[0] == "age-secret-key-" for key in keys):
            raise ValueError("not a private key")
    return value


AgeRecipients = Annotated[str, AfterValidator(check_recipients), Rule(RULE)]
AgeIdentity = Annotated[SecretStr, AfterValidator(_identity), Rule(_IDENTITY_RULE)]


class EncryptionSettings(BaseModel):
    """Whom backups are encrypted to."""

    backup_age_recipients: Annotated[AgeRecipients | None, Says(
        "The [public keys](encryption.md) that backups are encrypted to: `age1…`, `ssh-ed25519 …` or `ssh-rsa …`, separated by commas, "
        "spaces or lines, or the path of a file with one a line. Any one of their private keys opens a backup. Use two or more. "
        "If unset, backups aren't encrypted.",
        "age1ql3z7hjy54pw3hyww5ayyfg7zqgvc7w3j2elw8zmrj2kg5sfn9aqmcac8p,age15nsf9y4k28p83wth93tf7hafhvfajp45d2mge80ems45gz0c5gys3me64l",
    )] = None  # fmt: skip


class IdentitySettings(BaseModel):
    """The private keys, where drills and restores run."""

    age_identity: Annotated[AgeIdentity | None, Says(
        "A private key that opens encrypted backups: `AGE-SECRET-KEY-1…`, or an OpenSSH key without a passphrase. "
        "Set it only where drills and restores run, and never where backups are made. Hooks don't see it.",
        "AGE-SECRET-KEY-1QQQQQQQQQQQQQQQQQQQQQQQQQQQQQQQQQQQQQQQQQQQQQQQQQQQQ8H00W3",
    )] = None  # fmt: skip
    age_identity_file: Annotated[str | None, Says(
        "A file with private keys, if `AGE_IDENTITY` is not set: one a line, or one key of OpenSSH.", "/run/secrets/age.txt"
    )] = None  # fmt: skip
