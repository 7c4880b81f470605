"""Databases that share a folder are told apart, and don't affect each other's backups."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import SecretStr

from blocks.s3.client import ObjectStore
from blocks.sql.server import Server
from tasks.engine.repository.catalog import Backup
from tasks.engine.repository.folder import Folder, apart
from tasks.engine.repository.identity import Database, Origin, Whose, databases_named
from tasks.engine.repository.own_retention import decide_for
from tasks.engine.repository.retention import Policy, decide, decide_apart
from tasks.engine.repository.whose import former_setting, whose
from tests.plans import plan_of
from tests.unit.test_retention import BACKUPS, NOW, POLICIES, backup

SHOP, BIG = Database("shop", "7712734137005552605", 5), Database("big", "7712734137005552605", 6)
ELSEWHERE, UNKNOWN = Database("shop", "1", 5), Database("shop")
CATALOGS = st.lists(
    st.tuples(BACKUPS, st.sampled_from([SHOP, BIG, ELSEWHERE])), max_size=25, unique_by=lambda pair: pair[0].name
)


def of(backup: Backup, database: Database) -> Backup:
    return replace(backup, has_manifest=True, unfinished=False, origin=Origin("default", database))


@pytest.mark.parametrize(
    ("other", "same"),
    [(SHOP, True), (UNKNOWN, True), (replace(SHOP, oid=9), True), (ELSEWHERE, False), (BIG, False)],
)
def test_which_database_is_the_same(other: Database, same: bool) -> None:
    """Name and server identify a database; 1.0's manifests have only the name, and a restore changes the OID."""
    assert SHOP.is_same(other) is other.is_same(SHOP) is same


def test_what_may_have_moved() -> None:
    """A database may have moved if its name is on another server, or its OID has another name on the same server."""
    assert SHOP.may_be(ELSEWHERE)
    assert SHOP.may_be(replace(SHOP, name="old"))
    assert not SHOP.may_be(BIG)
    assert not UNKNOWN.may_be(Database("big"))


def test_what_was_the_database_before() -> None:
    """BACKUPS_OF names databases on any server or a specific one; without a known database nothing else counts."""
    assert databases_named(" old, shop@1 ,, a@b") == (Database("old"), Database("shop", "1"), Database("a@b"))
    assert Whose(SHOP, databases_named("shop@1")).owns(Origin("default", ELSEWHERE))
    assert not Whose(SHOP, databases_named("shop@2")).owns(Origin("default", ELSEWHERE))
    assert not Whose(None, databases_named("shop")).owns(Origin("default", BIG))
    assert Whose().owns(Origin("default", BIG))


def test_a_former_name_that_another_database_took() -> None:
    """After a swap by rename, BACKUPS_OF means this database's old backups, not its successor's."""
    old = Database("shop_old", SHOP.system_identifier, SHOP.oid)
    successor = replace(SHOP, oid=9)
    backups = tuple(
        of(Backup(f"backup_2026112{n}_020713", NOW, "k", 1, has_manifest=True, has_report=False), database)
        for n, database in enumerate((SHOP, successor))
    )
    former = databases_named(SHOP.as_setting())
    assert Folder(backups, Whose(old, former)).own == [backups[0]]
    assert Folder(backups, Whose(old, former)).others == [backups[1]]
    assert Folder(backups, Whose(successor)).own == list(backups)
    # No backup has the restored copy's OID, so everything under the former name is its own.
    assert Folder(backups, Whose(replace(old, oid=77), former)).own == list(backups)


def listed(*databases: Database) -> tuple[Backup, ...]:
    """Return one backup of each database, one a day."""
    return tuple(
        of(Backup(f"backup_2026112{n}_020713", NOW + timedelta(days=n), "k", 1, has_manifest=True, has_report=False), d)
        for n, d in enumerate(databases)
    )


def test_a_renamed_database_that_was_restored_keeps_its_backups() -> None:
    """A restore changes the OID; the backups it had under its name are still its own."""
    renamed = replace(SHOP, name="shop2")
    now = replace(renamed, oid=99)
    backups = listed(SHOP, renamed, now)
    assert Folder(backups, Whose(now, databases_named(SHOP.as_setting()))).own == list(backups)


def test_a_restored_database_that_was_renamed_then() -> None:
    """The backups under its former name and OID are its own; the successor's under that name are not."""
    restored = replace(SHOP, oid=6)
    renamed, successor = replace(restored, name="shop_old"), replace(SHOP, oid=9)
    backups = listed(SHOP, restored, renamed, successor)
    assert Folder(backups, Whose(renamed, databases_named(SHOP.as_setting()))).own == list(backups[:3])


def test_a_database_that_took_another_ones_place() -> None:
    """`shop_v2` claims `shop_v1`: that database's earlier backups are its own, later ones are not."""
    first, second = replace(SHOP, name="shop_v1"), replace(SHOP, name="shop_v2", oid=99)
    backups = listed(first, first, second, first)
    whose = Whose(second, databases_named(first.as_setting()))
    assert Folder(backups, whose).own == list(backups[:3])


@pytest.mark.parametrize("name", ["shop", "sh,op@12", "100%", "a b", "%2C", "ü@-5"])
@pytest.mark.parametrize("server", ["", "7712734137005552605"])
def test_every_name_can_be_set(name: str, server: str) -> None:
    """The value printed by the hint is read back as the same database."""
    assert databases_named(Database(name, server).as_setting()) == (Database(name, server),)


@given(CATALOGS, POLICIES)
def test_mixing_databases_changes_nothing(mixed: list[tuple[Backup, Database]], policy: Policy) -> None:
    """Each gets the same decisions in a shared folder as alone, including its newest and its newest PROVEN backup."""
    backups = [of(b, d) for b, d in mixed]
    together = {d.backup.name: d for d in decide_apart(apart(backups), policy, NOW).decisions}
    assert len(together) == len(backups)
    for database in (SHOP, BIG, ELSEWHERE):
        alone = [b for b in backups if b.origin and b.origin.database == database]
        assert all(together[d.backup.name] == d for d in decide(alone, policy, NOW).decisions)


@given(CATALOGS)
def test_what_counts_for_one(mixed: list[tuple[Backup, Database]]) -> None:
    """A database owns only its own backups, and those without a manifest only while no other database is there."""
    backups = [of(b, d) for b, d in mixed]
    stranger = replace(of(backups[0], SHOP) if backups else _one(), name="backup_20200101_000000", has_manifest=False,
                       origin=None)  # fmt: skip
    folder = Folder((*backups, stranger), Whose(SHOP))
    assert folder.made_here == [b for b in backups if b.origin and b.origin.database == SHOP]
    assert (stranger in folder.own) == (not folder.others)


def _one() -> Backup:
    return Backup("backup_20200101_000000", NOW - timedelta(days=1), "k", 1, has_manifest=False, has_report=False)


def test_manifests_without_a_server_go_with_the_only_one_of_their_name() -> None:
    """1.0's manifests are judged with the newer ones of that name, or separately if two databases have the name."""
    old, new, other = (
        of(replace(_one(), name=f"backup_2020010{n}_000000"), d) for n, d in enumerate((UNKNOWN, SHOP, ELSEWHERE))
    )
    assert apart([old, new]) == [[old, new]]
    assert apart([old, new, other]) == [[old], [new], [other]]


def test_a_server_that_was_upgraded() -> None:
    """With the former server named, each database's old backups count, and go when they are due; the hint says how."""
    store = ObjectStore.at(
        endpoint="https://s3.example.com", bucket="b", prefix="p", key_id="key", secret=SecretStr("s")
    )
    server = Server(SecretStr("postgresql://u:p@h/postgres"))
    before, now = Database("shop", "111"), Database("shop", "222")
    ages = {400: before, 399: before, 2: now, 1: now, 0: now}
    backups = [of(backup(timedelta(days=days)), database) for days, database in ages.items()]
    removed = {}
    for former in (None, "@111"):
        plan = plan_of(store, server, databases="*", backups_of=former).member("shop")
        made = tuple(replace(b, origin=Origin(plan.name, b.origin.database)) for b in backups if b.origin)
        folder = Folder(made, whose(plan, now))
        removed[former] = [b.name for b in decide_for(plan, folder, NOW).removals]
        assert former_setting(plan, before) == "@111"
    assert removed == {None: [], "@111": [b.name for b in backups[:2]]}
    assert former_setting(plan_of(store, server), before) == "shop@111"
