"""Wrap a file's key for a recipient, who alone can unwrap it."""

from __future__ import annotations

from collections.abc import Sequence

from blocks.config.age_keys import SSH_ED25519, SSH_RSA, X25519, Recipient, ssh_fields, unpadded
from blocks.errors import ConfigurationError, Problem
from tasks.engine.age import primitives
from tasks.engine.age.header import Stanza

LABELS = {kind: f"age-encryption.org/v1/{kind}".encode() for kind in (X25519, SSH_ED25519, SSH_RSA)}
FILE_KEY_BYTES = 16


def wrapped_for(recipients: Sequence[Recipient], file_key: bytes) -> list[Stanza]:
    """Wrap the key for each; raises ConfigurationError if there is none, or a key that can't encrypt."""
    if not recipients:
        raise ConfigurationError([Problem("There is no public key to encrypt to", "set BACKUP_AGE_RECIPIENTS")])
    try:
        return [_stanza(recipient, file_key) for recipient in recipients]
    except primitives.Refused as error:
        raise ConfigurationError([Problem(f"A public key can't encrypt: it is {error}", "replace it in BACKUP_AGE_RECIPIENTS")]) from None  # fmt: skip


def tweaked(recipient_key: bytes, shared: bytes) -> bytes:
    """Bind a shared secret to the SSH key: age does so because a curve's point alone doesn't name an Ed25519 key."""
    return primitives.x25519(primitives.derived(b"", recipient_key, LABELS[SSH_ED25519]), shared)


def _stanza(recipient: Recipient, file_key: bytes) -> Stanza:
    if recipient.kind == SSH_RSA:
        body = primitives.rsa_wrapped(recipient.text, file_key, LABELS[SSH_RSA])
        return Stanza((SSH_RSA, recipient.ssh_tag), body)
    ephemeral = primitives.random_bytes(primitives.KEY_BYTES)
    share = primitives.x25519_public(ephemeral)
    ssh = recipient.kind == SSH_ED25519
    point = primitives.x25519_of_ed25519(ssh_fields(recipient.key)[1]) if ssh else recipient.key
    shared = primitives.x25519(ephemeral, point)
    shared = tweaked(recipient.key, shared) if ssh else shared
    key = primitives.derived(shared, share + point, LABELS[recipient.kind])
    named = (recipient.kind, recipient.ssh_tag) if ssh else (recipient.kind,)
    return Stanza((*named, unpadded(share)), primitives.wrapped(key, file_key))
