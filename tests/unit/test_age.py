"""Encrypted files come back whole or not at all: not one byte of a chunk is used that was changed, moved or cut off."""

from __future__ import annotations

import base64
from collections.abc import Iterator, Sequence

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from blocks.config.age_keys import (
    Recipient,
    bech32_decoded,
    bech32_encoded,
    from_unpadded,
    recipient_in,
    recipients_in,
    unpadded,
    x25519_recipient,
)
from blocks.errors import BackupDamaged, ConfigurationError, EncryptionDamaged, KeyMissing
from tasks.engine.age import header, primitives
from tasks.engine.age.files import PREFIX_BYTES, decrypt, decrypting, encrypt, encryptor, open_header, opens, rewrapped
from tasks.engine.age.header import Stanza
from tasks.engine.age.identities import Identity, identities_in, new_identity
from tasks.engine.age.payload import CHUNK_BYTES, SEALED_BYTES, decrypted
from tasks.engine.age.wrapping import wrapped_for

# The specification's own example of a key and its recipient.
SECRET = "AGE-SECRET-KEY-1GFPYYSJZGFPYYSJZGFPYYSJZGFPYYSJZGFPYYSJZGFPYYSJZGFPQ4EGAEX"
PUBLIC = "age1zvkyg2lqzraa2lnjvqej32nkuu0ues2s82hzrye869xeexvn73equnujwj"
ME = identities_in(SECRET)
ELSE = [new_identity()[1]]
BOTH = [ME[0].recipient, ELSE[0].recipient]
EDGES = [0, 1, CHUNK_BYTES - 1, CHUNK_BYTES, CHUNK_BYTES + 1, 2 * CHUNK_BYTES, 2 * CHUNK_BYTES + 1, 3 * CHUNK_BYTES]
sizes = st.sampled_from(EDGES) | st.integers(0, 3 * CHUNK_BYTES + 5)


def data_of(size: int) -> bytes:
    return bytes(range(251)) * (size // 251 + 1)


def plain(size: int) -> bytes:
    return data_of(size)[:size]


def pieces(data: bytes, size: int) -> Iterator[bytes]:
    return (data[at : at + size] for at in range(0, len(data), size))


def sealed_chunks(data: bytes) -> tuple[bytes, list[bytes]]:
    """Return what precedes the payload, and its chunks."""
    start = open_header(data, ME).payload_offset
    return data[:start], [*pieces(data[start:], SEALED_BYTES)]


def _collect(into: bytearray, parts: Iterator[bytes]) -> None:
    for part in parts:
        into += part


def used_before_refusal(data: bytes, identities: Sequence[Identity] = ME) -> bytes:
    """Return what a reader was given of a file before the error, which must come."""
    used = bytearray()
    with pytest.raises((EncryptionDamaged, KeyMissing)):
        _collect(used, decrypting(pieces(data, 10000), identities))
    return bytes(used)


@settings(max_examples=25)
@given(sizes, st.integers(1, 200_000), st.integers(100, 200_000))
def test_what_goes_in_comes_out(size: int, written: int, read: int) -> None:
    """Every size comes back, however it is written and read, for each of the recipients."""
    stage = encryptor(BOTH)
    data = b"".join(stage.write(piece) for piece in pieces(plain(size), written)) + stage.finish()
    for keys in (ME, ELSE):
        assert b"".join(decrypting(pieces(data, read), keys)) == plain(size)


def test_it_comes_a_byte_at_a_time() -> None:
    """A slow reader gets the same."""
    data = encrypt(b"slow", BOTH)
    assert b"".join(decrypting(pieces(data, 1), ME)) == b"slow"


def test_chunks_are_as_published() -> None:
    """Only the last chunk can be shorter, and it is empty only if all is."""
    for size in EDGES:
        _, chunks = sealed_chunks(encrypt(plain(size), BOTH))
        assert sum(map(len, chunks)) - primitives.TAG_BYTES * len(chunks) == size
        assert len(chunks) == max(1, -(-size // CHUNK_BYTES))


@settings(max_examples=25)
@given(st.integers(0, 3 * CHUNK_BYTES + 4), st.integers(0, CHUNK_BYTES * 2))
def test_the_middle_can_be_read_alone(start: int, length: int) -> None:
    """From any plain byte on, with only the chunks that are needed; the end needn't be the file's."""
    size = 3 * CHUNK_BYTES + 5
    data = encrypt(plain(size), BOTH)
    key = open_header(data[:PREFIX_BYTES], ME)
    first, end = key.chunk_range(start)
    assert end is None
    assert b"".join(decrypted(pieces(data[first:], 9999), key, plain_offset=start)) == plain(size)[start:]
    stop = min(start + max(length, 1), size)
    first, end = key.chunk_range(start, stop)
    part = b"".join(decrypted(pieces(data[first:end], 9999), key, plain_offset=start, to_end=False))
    assert part[: stop - start] == plain(size)[start:stop]


THREE = 2 * CHUNK_BYTES + 100
SMALL = plain(THREE)
FILE = encrypt(SMALL, BOTH)
AHEAD, CHUNKS = sealed_chunks(FILE)


@pytest.mark.parametrize(
    ("chunks", "whole"),
    [
        (CHUNKS[:2], 1),
        (CHUNKS[:1], 0),
        ([], 0),
        ([CHUNKS[0], CHUNKS[1][:-1]], 1),
        ([CHUNKS[0], CHUNKS[1], CHUNKS[2][:-1]], 2),
        ([CHUNKS[0], CHUNKS[1], CHUNKS[2][:15]], 2),
        ([CHUNKS[1], CHUNKS[0], CHUNKS[2]], 0),
        ([CHUNKS[0], CHUNKS[0], CHUNKS[1], CHUNKS[2]], 1),
        ([CHUNKS[0], CHUNKS[2]], 1),
        ([CHUNKS[0], CHUNKS[1], CHUNKS[1], CHUNKS[2]], 2),
        ([*CHUNKS, b"x"], 2),
        ([*CHUNKS, CHUNKS[2]], 2),
    ],
)
def test_chunks_that_are_missing_moved_or_repeated_are_refused(chunks: list[bytes], whole: int) -> None:
    """Cut off (also between two chunks), reordered, repeated, lengthened: only whole chunks before that are used."""
    used = used_before_refusal(AHEAD + b"".join(chunks))
    assert SMALL.startswith(used)
    assert len(used) <= whole * CHUNK_BYTES


@settings(max_examples=60)
@given(st.integers(0, len(FILE) - 1), st.integers(0, 7))
def test_a_changed_bit_is_refused(at: int, bit: int) -> None:
    """Wherever it is, the chunk that it is in isn't used; in the header or the nonce, nothing is."""
    used = used_before_refusal(FILE[:at] + bytes([FILE[at] ^ 1 << bit]) + FILE[at + 1 :])
    before = max(0, at - len(AHEAD)) // SEALED_BYTES
    assert used == SMALL[: before * CHUNK_BYTES]


def test_every_bit_of_header_and_nonce_counts() -> None:
    """All of them, not only a sample."""
    for at in range(len(AHEAD)):
        data = AHEAD[:at] + bytes([AHEAD[at] ^ 4]) + AHEAD[at + 1 :]
        with pytest.raises((EncryptionDamaged, KeyMissing)):
            b"".join(decrypting(iter((data + CHUNKS[0],)), ME))


@settings(max_examples=40)
@given(st.integers(0, len(AHEAD) - 1))
def test_a_file_that_ends_in_its_header_is_refused(size: int) -> None:
    """A header cut off anywhere opens nothing."""
    assert used_before_refusal(AHEAD[:size]) == b""


def test_the_empty_last_chunk_of_a_longer_file_is_refused() -> None:
    """The format allows one file for each content: an empty chunk at the end would be a second."""
    file_key, nonce = bytes(16), bytes(16)
    cipher = primitives.cipher(primitives.derived(file_key, nonce, b"payload"))
    payload = cipher.encrypt(bytes(12), plain(CHUNK_BYTES), None) + cipher.encrypt(bytes(10) + b"\x01\x01", b"", None)
    data = header.encoded(wrapped_for(BOTH, file_key), file_key) + nonce + payload
    assert used_before_refusal(data) == plain(CHUNK_BYTES)


def test_a_wrong_key_opens_nothing() -> None:
    """It is said so; that is no damage."""
    data = encrypt(b"secret", [ME[0].recipient])
    assert not opens(data, ELSE)
    assert opens(data, [*ELSE, *ME])
    with pytest.raises(KeyMissing):
        decrypt(data, ELSE, 100)


def test_small_documents_have_a_limit() -> None:
    """A hostile document doesn't fill the memory."""
    data = encrypt(plain(1000), BOTH)
    assert decrypt(data, ME, 1000) == plain(1000)
    with pytest.raises(BackupDamaged, match="999"):
        decrypt(data, ME, 999)


def forged(stanzas: list[Stanza], file_key: bytes = bytes(16)) -> bytes:
    return header.encoded(stanzas, file_key) + bytes(16)


def test_unknown_stanzas_are_skipped() -> None:
    """Other kinds of recipients, and the grease that age adds, are none of our business."""
    grease = [Stanza(("x-grease", "a", "!"), b""), Stanza(("example.com/kind",), bytes(96))]
    stanzas = wrapped_for([ME[0].recipient], bytes(16))
    assert opens(forged([*grease, *stanzas, *grease]), ME)


@pytest.mark.parametrize(
    "stanza",
    [
        Stanza(("X25519",), bytes(32)),
        Stanza(("X25519", unpadded(bytes(range(32))), "more"), bytes(32)),
        Stanza(("X25519", unpadded(bytes(31))), bytes(32)),
        Stanza(("X25519", unpadded(bytes(range(32)))), bytes(31)),
        Stanza(("X25519", unpadded(bytes(range(32)))), bytes(48)),
        Stanza(("X25519", unpadded(bytes(range(32))) + "="), bytes(32)),
        Stanza(("X25519", unpadded(bytes(32))), bytes(32)),
        Stanza(("X25519", unpadded(bytes([1]) + bytes(31))), bytes(32)),
    ],
)
def test_malformed_stanzas_for_our_kind_of_key_are_refused(stanza: Stanza) -> None:
    """Also points of small order, with which everybody would know the shared secret."""
    with pytest.raises(EncryptionDamaged):
        opens(forged([stanza, *wrapped_for([ME[0].recipient], bytes(16))]), ME)


def test_a_passphrase_is_no_key() -> None:
    """A file for a passphrase says so; one that mixes both is refused, as the format demands."""
    phrase = Stanza(("scrypt", unpadded(bytes(16)), "18"), bytes(32))
    with pytest.raises(KeyMissing, match="passphrase"):
        open_header(forged([phrase]), ME)
    with pytest.raises(EncryptionDamaged):
        open_header(forged([phrase, *wrapped_for([ME[0].recipient], bytes(16))]), ME)


GOOD = header.encoded(wrapped_for([ME[0].recipient], bytes(16)), bytes(16))
BODY = GOOD.splitlines()[2]
MAC_AT = GOOD.index(b"--- ")


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"hello",
        GOOD.replace(b"v1\n", b"v2\n"),
        GOOD.replace(b"v1\n", b"v1\r\n"),
        GOOD.replace(b"\n", b"\r\n"),
        b"\n" + GOOD,
        GOOD.replace(b"-> ", b"->"),
        GOOD.replace(b"-> X25519 ", b"-> X25519  "),
        GOOD.replace(b"-> ", b"-> \xc3\xa4 "),
        GOOD.replace(BODY, BODY + b"="),
        GOOD.replace(BODY, BODY + b"\n"),
        GOOD.replace(BODY, BODY + b" "),
        GOOD.replace(BODY, b"A" * 65),
        GOOD.replace(BODY, BODY[:-1] + b"\xff"),
        GOOD[:MAC_AT] + b"--- AAAA\n",
        GOOD[:MAC_AT] + GOOD[MAC_AT:].replace(b"--- ", b"---"),
        GOOD[:-1] + b"=\n",
        b"age-encryption.org/v1\n" + GOOD[MAC_AT:],
        b"age-encryption.org/v1\n" + b"-> a\n\n" * 200 + GOOD[MAC_AT:],
        b"age-encryption.org/v1\n-> " + b"a" * 100_000,
        b"age-encryption.org/v1\n-> a\n" + (b"A" * 64 + b"\n") * 2000,
        b"-----BEGIN AGE ENCRYPTED FILE-----\n" + base64.b64encode(GOOD),
    ],
    ids=lambda _: "header",  # the keys are new in each process
)
def test_malformed_headers_are_refused(data: bytes) -> None:
    """Exactly what age writes is read, and a bounded amount of it."""
    with pytest.raises(EncryptionDamaged):
        opens(data + bytes(16), ME)


def test_last_letters_that_mean_nothing_are_refused() -> None:
    """Base64 has several texts for some bytes; only one is read."""
    assert from_unpadded("AA") == b"\0"
    for text in ("AB", "A", "AA==", "A A", "ä"):
        with pytest.raises(ValueError, match="base64"):
            from_unpadded(text)


def test_a_header_can_be_written_anew() -> None:
    """For other recipients, before the same payload, which is not touched."""
    old = encrypt(SMALL, [ME[0].recipient])
    ahead, goes_on = rewrapped(old[:PREFIX_BYTES], ME, [ELSE[0].recipient])
    new = ahead + old[goes_on:]
    assert decrypt(new, ELSE, len(SMALL)) == SMALL
    assert not opens(new, ME)
    with pytest.raises(KeyMissing):
        rewrapped(old[:PREFIX_BYTES], ELSE, [ELSE[0].recipient])


def test_the_example_of_the_specification() -> None:
    """Its private key belongs to its public one."""
    assert ME[0].recipient.text == PUBLIC
    assert recipient_in(PUBLIC) == recipient_in(PUBLIC.upper()) == ME[0].recipient


@given(st.text("abcxyz-", min_size=1, max_size=20), st.binary(max_size=80))
def test_bech32_comes_back(prefix: str, data: bytes) -> None:
    """What is written is read."""
    assert bech32_decoded(bech32_encoded(prefix, data)) == (prefix, data)


@given(st.integers(0, len(PUBLIC) - 1), st.sampled_from("qpzry9x8gf2tvdw0s3jn54khce6mua7l"))
def test_a_letter_typed_wrong_is_seen(at: int, letter: str) -> None:
    """A public key with a wrong letter would make backups that nobody can open."""
    if PUBLIC[at] != letter:
        with pytest.raises(ValueError, match=r"."):
            recipient_in(PUBLIC[:at] + letter + PUBLIC[at + 1 :])


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        (SECRET, "private key"),
        ("hunter2", "public key: age1"),
        ("age1yubikey1qwertz", "key"),
        (PUBLIC[:-1], "check digits"),
        (PUBLIC[:10] + PUBLIC[10:].upper(), "mixes"),
        (bech32_encoded("age1tag", bytes(33)), "plugins"),
        (bech32_encoded("age", bytes(31)), "32 bytes"),
        ("ssh-ed25519", "cut off"),
        ("ssh-ed25519 AAAA", "cut off"),
        ("ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIA==", "cut off"),
        ("ecdsa-sha2-nistp256 AAAA", "only ssh-ed25519"),
        ("ssh-rsa AAAAB3NzaC1yc2EAAAADAQABAAAAAQE=", "2048"),
    ],
)
def test_what_is_no_public_key_is_refused_with_the_reason(line: str, reason: str) -> None:
    """The text itself is not repeated: it may be a private key."""
    with pytest.raises(ValueError, match=reason) as caught:
        recipient_in(line)
    assert line not in str(caught.value)


def test_lists_of_public_keys() -> None:
    """Comments and empty lines are skipped, duplicates count once, and what is wrong is named by its line."""
    assert recipients_in(f"# mine\n\n{PUBLIC}\n {PUBLIC.upper()} \n") == [ME[0].recipient]
    with pytest.raises(ValueError, match="line 2"):
        recipients_in(f"{PUBLIC}\nage1nothing")
    with pytest.raises(ValueError, match="at most 32"):
        recipients_in("\n".join(x25519_recipient(bytes([9, n]) + bytes(30)).text for n in range(33)))


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("# nothing", "no private key"),
        (PUBLIC, "public key"),
        ("AGE-PLUGIN-YUBIKEY-1QQQQ", "plugins"),
        ("AGE-SECRET-KEY-PQ-1QQQQ", "post-quantum"),
        ("hunter2", "begins with"),
        (SECRET[:-1] + "Q", "check digits"),
        ("-----BEGIN AGE ENCRYPTED FILE-----\n", "passphrase"),
        ("age-encryption.org/v1\n-> scrypt", "passphrase"),
        ("-----BEGIN OPENSSH PRIVATE KEY-----\nAAAA\n-----END OPENSSH PRIVATE KEY-----\n", "cannot be read"),
        ("x" * 300_000, "too long"),
    ],
)
def test_what_is_no_private_key_is_refused_with_the_reason(text: str, reason: str) -> None:
    """Neither the error nor what Python shows of a key holds the key."""
    with pytest.raises(ValueError, match=reason) as caught:
        identities_in(text)
    assert text not in str(caught.value)


def test_files_of_private_keys() -> None:
    """age-keygen's comments are skipped, several keys are read, and none of them is shown."""
    line, other = new_identity()
    read = identities_in(f"# created: 2026-11-21\n# public key: {PUBLIC}\n{SECRET}\n\n{line}\n")
    assert [identity.fingerprint for identity in read] == [ME[0].fingerprint, other.fingerprint]
    assert not any("SECRET" in repr(identity) or "secret=" in repr(identity) for identity in read)


def test_a_public_key_of_small_order_encrypts_nothing() -> None:
    """Everybody could read what it encrypts."""
    with pytest.raises(ConfigurationError, match="small order"):
        encrypt(b"", [Recipient("X25519", bytes(32), "")])
    with pytest.raises(ConfigurationError):
        encrypt(b"", [])
