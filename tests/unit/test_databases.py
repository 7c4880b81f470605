"""Databases of a server: patterns choose them, and each has a folder that is no other's on any storage."""

from __future__ import annotations

import re

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from pydantic import SecretStr

from blocks.config.databases import RESERVED, database_of, folder_for, name_in, names_one, read_databases
from blocks.config.plan import Plan
from blocks.config.resolve import resolve_plan
from blocks.errors import ConfigurationError
from blocks.s3.client import ObjectStore
from blocks.sql.server import Server
from tasks.engine.dump.databases import Listed, sorted_out
from tests.plans import plan_of

NAMES = st.text(st.characters(exclude_characters="\0"), min_size=1, max_size=63)


@given(NAMES)
@example("..")
@example("sets")
def test_a_folder_names_its_database(name: str) -> None:
    """Folders are safe in keys, and read back as what they stand for."""
    folder = folder_for(name)
    assert re.fullmatch(r"[a-z0-9._-]+", folder)
    assert folder not in (".", "..", *RESERVED)
    assert not folder.endswith(".")
    assert database_of(folder) == name


@given(NAMES, NAMES)
@example("Shop", "shop")
def test_no_two_databases_share_a_folder(one: str, other: str) -> None:
    """Not even where case is ignored, or letters and their accents are the same in two spellings."""
    if one != other:
        assert folder_for(one).casefold() != folder_for(other).casefold()


@given(st.text(max_size=20))
@example(".-S")
@example(".61")
@example("sets")
def test_other_folders_are_no_database_s(folder: str) -> None:
    """A folder is a database's only if its name is the one that we would give it."""
    database = database_of(folder)
    assert database is None or folder_for(database) == folder


@pytest.mark.parametrize(
    ("name", "folder"),
    [("shop", "shop"), ("my-shop_2", "my-shop_2"), ("MyShop", ".-my.-shop"), ("a b", "a.20b"), ("é", ".c3.a9"), ("sets", ".73ets")],
)  # fmt: skip
def test_folders_are_readable(name: str, folder: str) -> None:
    """Most names stay as they are."""
    assert folder_for(name) == folder


def test_patterns() -> None:
    """An exclamation mark leaves out; with exceptions alone, all others are meant."""
    read = read_databases('shop_*, "My, Shop", !shop_test')
    assert [p.name for p in read.wanted] == ["^(shop_.*)$", "^(My, Shop)$"]
    assert [p.name for p in read.but] == ["^(shop_test)$"]
    assert [names_one(p) for p in read.wanted] == [False, True]
    assert [p.name for p in read_databases("!a").wanted] == ["^(.*)$"]


@given(NAMES)
@example("a.b*")
def test_a_name_in_quotes_is_that_name(name: str) -> None:
    """A pattern that is a single name names it, whatever it is made of."""
    (pattern,) = read_databases('"{}"'.format(name.replace('"', '""'))).wanted
    assert (names_one(pattern), name_in(pattern)) == (True, name)


def row(name: str, *matched: int, connects: bool = True, template: bool = False, limit: int = -1) -> tuple[object, ...]:
    """A database as the server lists it, with the numbers of the patterns that match it."""
    return name.encode(), template, connects, limit, matched


def test_what_a_name_asks_for_is_missed() -> None:
    """A database that is named, and can't be backed up, is missed like one that isn't there; one that a pattern matches is left alone."""
    wanted = read_databases("shop, closed, gone, t_*, x_*, template1, !t_2")
    found = sorted_out(
        [
            row("shop", 1), row("closed", 2, connects=False), row("t_1", 4, connects=False), row("t_2", 4, 7),
            row("template1", 6, template=True), row("t_3", 4, limit=-2), row("other"),
        ],
        wanted,
    )  # fmt: skip
    closed = "it accepts no connections (datallowconn)"
    assert found == Listed(
        members=("shop",),
        left_alone=(("t_1", closed), ("t_3", "it is invalid: its removal was interrupted")),
        missing=(
            ("closed", closed),
            ("template1", "it is a template"),
            ("gone", "there is no database of this name"),
        ),
        unmatched=("x_*",),
    )


@pytest.mark.parametrize("text", ["!", "a, !", '"a', "a.b", ",", '""', '*, !""'])
def test_what_is_no_pattern(text: str) -> None:
    """A list that says nothing, or something else, is refused before anything runs."""
    with pytest.raises(ValueError, match=r"."):
        read_databases(text)
    with pytest.raises(ConfigurationError, match="Invalid BACKUP_DATABASES"):
        plan_of(_store(), databases=text)


def _store() -> ObjectStore:
    return ObjectStore.at(
        endpoint="https://s3.example.com", bucket="bucket", prefix="p", key_id="key", secret=SecretStr("secret")
    )


def test_a_member_is_a_plan_of_its_own() -> None:
    """It has its own name and folder, and no members."""
    whole: Plan = plan_of(_store(), databases="*")
    member = whole.member("Shop")
    assert (member.name, member.databases) == ("default/.-shop", None)
    assert member.storage.key("x") == whole.storage.key(".-shop/x")


def test_a_member_is_found_by_name(monkeypatch: pytest.MonkeyPatch) -> None:
    """The plan's name and the folder lead to it, for a restore without the patterns, too; any other folder is refused."""
    for name, value in {
        "S3_ENDPOINT": "https://s3.example.com", "S3_BUCKET": "bucket", "S3_ACCESS_KEY_ID": "key",
        "S3_SECRET_ACCESS_KEY": "secret", "DATABASE_URL": "postgresql://u:p@h/postgres", "BACKUP_DATABASES": "*",
    }.items():  # fmt: skip
        monkeypatch.setenv(name, value)
    assert resolve_plan("default/.-shop", frozenset({"database", "storage"})).source.database == "Shop"
    with pytest.raises(ConfigurationError, match="no folder"):
        resolve_plan("default/Shop", frozenset({"storage"}))
    monkeypatch.delenv("BACKUP_DATABASES")
    assert resolve_plan("default/shop", frozenset({"storage"})).storage.key("x").endswith("/shop/x")


@pytest.mark.parametrize(
    ("given", "of"), [(None, None), ("@1", "My%20Shop@1"), ("@1, @-2", "My%20Shop@1, My%20Shop@-2")]
)
def test_what_its_databases_were_before(given: str | None, of: str | None) -> None:
    """After a move of the whole server, each has the former backups of its own name; if nothing is asked, all in its folder count."""
    whole = plan_of(_store(), Server(SecretStr("postgresql://u:p@h/postgres")), databases="*", backups_of=given)
    assert whole.member("My Shop").backups_of == of
    assert plan_of(_store(), databases="*", backups_of=given).member("My Shop").backups_of is None


@pytest.mark.parametrize("given", ["shop", "shop@1", "@1, shop", "@x", "@"])
def test_names_are_no_former_server(given: str) -> None:
    """What would say nothing of any database is refused; of one database, it means what it did."""
    with pytest.raises(ConfigurationError, match="BACKUPS_OF names databases"):
        plan_of(_store(), databases="*", backups_of=given)
    assert plan_of(_store(), backups_of=given).backups_of == given
