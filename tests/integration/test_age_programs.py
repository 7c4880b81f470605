"""Other programs open what we encrypt, and we open what they encrypt: Debian's age, with its keys and with OpenSSH's."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from blocks.config.age_keys import recipient_in, recipients_in
from blocks.errors import EncryptionDamaged
from tasks.engine.age.files import PREFIX_BYTES, decrypt, encrypt, opens, rewrapped
from tasks.engine.age.identities import Identity, identities_in, new_identity

CHUNK = 65536
SIZES = (0, 1, CHUNK - 1, CHUNK, CHUNK + 1, 2 * CHUNK, 300_000)


def run(*command: str | Path, data: bytes = b"") -> bytes:
    done = subprocess.run([*map(str, command)], input=data, capture_output=True, check=True, timeout=60)
    return done.stdout


def age_keygen(folder: Path) -> tuple[Path, str]:
    path = folder / "key.txt"
    run("age-keygen", "-o", path)
    return path, run("age-keygen", "-y", path).decode().strip()


def ssh_keygen(folder: Path, *options: str) -> tuple[Path, str]:
    path = folder / f"id_{options[1]}_{len(options)}"
    run("ssh-keygen", "-q", "-N", "", "-C", "backup@example.org", "-f", path, *options)
    return path, path.with_suffix(".pub").read_text().strip()


@pytest.fixture(scope="module")
def keys(tmp_path_factory: pytest.TempPathFactory) -> list[tuple[Path, str]]:
    """A key of each kind: the file of the private one, and the public one."""
    folder = tmp_path_factory.mktemp("keys")
    rsa = ("-t", "rsa", "-b", "2048")
    return [age_keygen(folder), ssh_keygen(folder, "-t", "ed25519"), ssh_keygen(folder, *rsa), ssh_keygen(folder, *rsa, "-m", "PEM")]  # fmt: skip


def identities(path: Path) -> list[Identity]:
    return identities_in(path.read_text())


def test_both_ways(keys: list[tuple[Path, str]], tmp_path: Path) -> None:
    """Age opens ours and we open age's, with each kind of key and at each edge of a chunk."""
    publics = [public for _, public in keys]
    for number, (path, public) in enumerate(keys):
        for size in SIZES if number == 0 else SIZES[4:5]:
            data = bytes(range(256)) * (size // 256) + bytes(size % 256)
            (tmp_path / "ours").write_bytes(encrypt(data, recipients_in("\n".join(publics))))
            assert run("age", "-d", "-i", path, tmp_path / "ours") == data
            theirs = run("age", "-r", public, data=data)
            assert decrypt(theirs, identities(path), size) == data


def test_all_of_age_s_recipients_at_once(keys: list[tuple[Path, str]]) -> None:
    """One file for every key, of which each opens it."""
    theirs = run("age", *(word for _, public in keys for word in ("-r", public)), data=b"for all")
    for path, _ in keys:
        assert decrypt(theirs, identities(path), 100) == b"for all"


def test_private_and_public_keys_belong_together(keys: list[tuple[Path, str]]) -> None:
    """A private key knows its public one; the fingerprint of an SSH key is the one that ssh-keygen prints."""
    for path, public in keys:
        (identity,) = identities(path)
        assert identity.recipient == recipient_in(public)
        if public.startswith("ssh-"):
            assert run("ssh-keygen", "-l", "-f", path).decode().split()[1] == identity.fingerprint


def test_a_key_of_ours(tmp_path: Path) -> None:
    """Age reads our private keys, and finds the same public one."""
    line, identity = new_identity()
    (tmp_path / "key.txt").write_text(f"# ours\n{line}\n")
    assert run("age-keygen", "-y", tmp_path / "key.txt").decode().strip() == identity.recipient.text


def test_age_opens_a_file_with_a_new_header(keys: list[tuple[Path, str]], tmp_path: Path) -> None:
    """The new recipient opens it, the old one doesn't any more, and the payload is the same."""
    (old, _), (new, public) = keys[0], keys[1]
    before = run("age", "-r", keys[0][1], data=b"x" * 100_000)
    ahead, goes_on = rewrapped(before[:PREFIX_BYTES], identities(old), [recipient_in(public)])
    (tmp_path / "new").write_bytes(ahead + before[goes_on:])
    assert run("age", "-d", "-i", new, tmp_path / "new") == b"x" * 100_000
    with pytest.raises(subprocess.CalledProcessError):
        run("age", "-d", "-i", old, tmp_path / "new")


def test_passphrases_are_refused(tmp_path: Path) -> None:
    """Nobody is there to type one when a drill is due."""
    for options in (("-t", "ed25519"), ("-t", "rsa", "-b", "2048", "-m", "PEM")):
        path = tmp_path / options[1]
        run("ssh-keygen", "-q", "-N", "hunter22", "-f", path, *options)
        with pytest.raises(ValueError, match="passphrase"):
            identities(path)
    run("ssh-keygen", "-q", "-N", "", "-t", "ecdsa", "-f", tmp_path / "ecdsa")
    with pytest.raises(ValueError, match="only ssh-ed25519"):
        identities(tmp_path / "ecdsa")


def test_a_wrapping_for_our_ssh_key_that_was_changed_is_damage(keys: list[tuple[Path, str]]) -> None:
    """It names our key, so it is not for somebody else."""
    for path, public in keys[1:]:
        lines = run("age", "-r", public, data=b"x").split(b"\n", 3)
        lines[2] = (b"B" if lines[2][:1] == b"A" else b"A") + lines[2][1:]
        with pytest.raises(EncryptionDamaged):
            opens(b"\n".join(lines), identities(path))


def test_armor_is_refused(keys: list[tuple[Path, str]]) -> None:
    """No backup of ours has it, so it isn't read."""
    with pytest.raises(EncryptionDamaged, match="armored"):
        opens(run("age", "-a", "-r", keys[0][1], data=b"x"), identities(keys[0][0]))
