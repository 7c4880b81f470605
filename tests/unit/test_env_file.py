"""A file `.env` means the same to a shell, to python-dotenv and to Docker Compose, and never replaces another silently."""

from __future__ import annotations

import re
import subprocess
from io import StringIO
from pathlib import Path

import pytest
from dotenv import dotenv_values
from hypothesis import example, given, settings
from hypothesis import strategies as st

from blocks.config.env_file import line_of, quoted, write_env_file
from blocks.config.taken import secret_variables
from blocks.errors import ConfigurationError
from blocks.sql.url import parse_database_url

AWKWARD = (
    st.text(st.sampled_from("aB7 '\"\\$#`!&;|<>(){}[]*?~%=@:/é\u00a0"), min_size=1, max_size=12)
    .map(str.strip)
    .filter(bool)
)


def read_by_a_shell(text: str) -> str:
    done = subprocess.run(["/bin/sh", "-c", f'{text}\nprintf %s "$A"'], env={}, capture_output=True, check=True)
    return done.stdout.decode()


def read_by_compose(text: str) -> str:
    """Read one value as Compose does (github.com/compose-spec/compose-go, dotenv/parser.go); it is no program here."""
    value = text.split("=", 1)[1]
    quote = value[0]
    if quote not in "'\"":
        assert "$" not in value
        return value.split("#")[0].rstrip()
    end = next(n for n in range(1, len(value)) if value[n] == quote and value[n - 1] != "\\")
    assert value[end + 1 :] == ""
    inside = value[:end].strip(quote)
    if quote == "'":
        return inside
    assert "$" not in inside
    unbroken = re.sub(r"\\.", lambda found: {"\\n": "\n", "\\r": "\r"}.get(found[0], found[0]), inside)
    return re.sub(r"\\([^$])", r"\1", unbroken)


def read_by_newer_compose(text: str) -> str:
    """The same for the parser since 2.0 of that library, which unescapes in two passes."""
    value = text.split("=", 1)[1]
    quote = value[0]
    if quote not in "'\"":
        assert " #" not in value
        return value
    inside = re.fullmatch(rf"{quote}((?:\\.|[^{quote}\\])*){quote}", value)
    assert inside
    once = re.sub(r"\\(.)", lambda found: found[1] if found[1] == quote else found[0], inside[1])
    return once if quote == "'" else re.sub(r"\\([abcfnrtv$\"\\])", lambda found: {"\\": "\\"}[found[1]], once)


@settings(max_examples=150)
@given(AWKWARD)
@example("it's 100% $HOME #1")
@example("a\\b c")
@example('say "hi"')
@example('it\'s "so"!')
def test_all_readers_agree(value: str) -> None:
    """What can be quoted is read back as it was, by each reader."""
    try:
        text = f"A={quoted(value)}"
    except ValueError:
        return
    assert dotenv_values(stream=StringIO(text)) == {"A": value}
    assert read_by_compose(text) == read_by_newer_compose(text) == value
    assert read_by_a_shell(text) == value


@pytest.mark.parametrize(
    "value", ["two words", "$HOME", "a#b", "it's", 'say "hi"', "a\\b", "(x|y)*", "~", "it's #1 \\ o'clock"]
)
def test_usual_characters_have_a_form(value: str) -> None:
    """Only rare mixtures are refused."""
    assert quoted(value)


@pytest.mark.parametrize("value", ["a\nb", "a\rb", "a\0b", "${HOME}", "it's $5", "ends in \\"])
def test_what_has_no_common_form_is_refused(value: str) -> None:
    """The error names the variable and not its value."""
    with pytest.raises(ConfigurationError) as refused:
        line_of("S3_SECRET_ACCESS_KEY", value)
    assert "S3_SECRET_ACCESS_KEY cannot be written" in refused.value.sentence
    assert value not in refused.value.sentence


@given(AWKWARD.filter(lambda text: not set("@:/?#%[]&= \u00a0") & set(text)))
@settings(max_examples=40)
def test_any_password_in_a_url_can_be_written(password: str) -> None:
    """A URL can hold every character in another form, so it never has to be refused."""
    url = f"postgresql://me:{password}@host/shop"
    written = dotenv_values(stream=StringIO(line_of("DATABASE_URL", url)))["DATABASE_URL"]
    assert written
    assert parse_database_url(written) == parse_database_url(url)


def test_another_file_is_replaced_only_when_told(tmp_path: Path) -> None:
    """With force the old one stays beside it, under a name that was free; all are for their owner alone."""
    path = tmp_path / ".env"
    assert write_env_file(path, {"A": "1"}, (), force=False) is None
    with pytest.raises(ConfigurationError, match="exists already"):
        write_env_file(path, {"A": "2"}, (), force=False)
    assert dotenv_values(path) == {"A": "1"}
    for value in ("2", "3"):
        write_env_file(path, {"A": value}, (), force=True)
    kept = {found.name: dotenv_values(found)["A"] for found in tmp_path.iterdir()}
    assert kept == {".env": "3", ".env.old": "1", ".env.old2": "2"}
    assert {found.stat().st_mode & 0o777 for found in tmp_path.iterdir()} == {0o600}


def test_a_failed_write_leaves_nothing(tmp_path: Path) -> None:
    """Neither a half-written file nor a temporary one stays, and the error says which file it was."""
    (tmp_path / ".env").mkdir()
    with pytest.raises(ConfigurationError, match="cannot be written"):
        write_env_file(tmp_path / ".env", {"A": "1"}, (), force=True)
    assert [found.name for found in tmp_path.iterdir() if found.is_file()] == []
    with pytest.raises(ConfigurationError, match="No file can be written"):
        write_env_file(tmp_path / "none" / ".env", {"A": "1"}, (), force=False)


def test_secrets_are_known_by_their_type() -> None:
    """The settings' own types say what is secret; a key's name is not."""
    given = {
        "DATABASE_URL": "postgresql://me:pw@host/shop", "S3_ENDPOINT": "https://s3.example.com", "S3_BUCKET": "backups",
        "S3_ACCESS_KEY_ID": "id", "S3_SECRET_ACCESS_KEY": "secret", "S3_SESSION_TOKEN": "token", "BACKUP_INTERVAL": "60",
    }  # fmt: skip
    assert set(secret_variables(given)) == {"DATABASE_URL", "S3_SECRET_ACCESS_KEY", "S3_SESSION_TOKEN"}
