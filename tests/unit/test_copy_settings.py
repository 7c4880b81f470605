"""Further places for backups are described like the first one, and every problem in them is reported with the others."""

from __future__ import annotations

from pathlib import Path

import pytest
from pydantic import SecretStr

from blocks.config.copy_settings import COPIES, FIELDS, CopySettings
from blocks.config.copying import CopyingSettings
from blocks.config.destinations import RetentionRules
from blocks.config.fleet import read_fleet
from blocks.config.load import Need, load_settings
from blocks.config.plan import Plan
from blocks.config.secrets import mask_of
from blocks.disk.folder_store import FolderStore
from blocks.errors import ConfigurationError
from blocks.plan import BackupPlan
from blocks.s3.client import ObjectStore
from tasks.status.check_places import check_places

NEEDS: frozenset[Need] = frozenset({"storage"})
FIRST = {
    "S3_ENDPOINT": "https://s3.example.com",
    "S3_BUCKET": "backups",
    "S3_ACCESS_KEY_ID": "first",
    "S3_SECRET_ACCESS_KEY": "first-secret",
    "BACKUP_PREFIX": "shop",
    "BACKUP_RETENTION_DAYS": "30",
    "BACKUP_KEEP_MONTHLY": "12",
}
SECOND = {
    "COPY_S3_ENDPOINT": "https://s3.us-west-004.backblazeb2.com",
    "COPY_S3_BUCKET": "copies",
    "COPY_S3_ACCESS_KEY_ID": "second",
    "COPY_S3_SECRET_ACCESS_KEY": "second-secret",
}


@pytest.fixture
def environment(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    """One place in a bucket."""
    for name, value in FIRST.items():
        monkeypatch.setenv(name, value)
    return monkeypatch


def set_all(environment: pytest.MonkeyPatch, *given: dict[str, str]) -> None:
    for values in given:
        for name, value in values.items():
            environment.setenv(name, value)


def problems() -> list[str]:
    """Return what is reported of the plan that the environment describes."""
    with pytest.raises(ConfigurationError) as caught:
        Plan.from_settings(load_settings(NEEDS))
    assert all(problem.hint for problem in caught.value.problems)
    return [problem.message for problem in caught.value.problems]


def test_every_copy_has_the_same_settings() -> None:
    """The three copies differ in nothing but their names."""
    fields = {
        name: field for name, field in CopySettings.model_fields.items() if name not in CopyingSettings.model_fields
    }
    assert set(fields) == {f"{place}_{field}" for place in COPIES for field in FIELDS}
    for field in FIELDS:
        first, *others = [fields[f"{place}_{field}"] for place in COPIES]
        assert all((o.annotation, o.metadata, o.default) == (first.annotation, first.metadata, None) for o in others)


def test_a_plan_knows_all_places(environment: pytest.MonkeyPatch) -> None:
    """A copy in a bucket and one on a disk; what isn't set of a retention or of a prefix is the first place's."""
    set_all(
        environment,
        SECOND,
        {"COPY_RETENTION_DAYS": "365", "COPY2_PATH": "/mnt/backups/", "COPY2_PREFIX": "/", "COPY2_KEEP_MONTHLY": "3"},
    )
    plan = Plan.from_settings(load_settings(NEEDS))
    first, second, third = plan.destinations
    assert [place.name for place in plan.destinations] == ["primary", "copy", "copy2"]
    assert (first.storage, first.retention) == (plan.storage, plan.retention)
    assert isinstance(second.storage, ObjectStore)
    assert (second.storage.bucket, second.storage.folder, second.storage.region) == ("copies", "shop", "us-west-004")
    assert second.retention == RetentionRules(365, {"monthly": 12})
    assert third.storage == FolderStore(Path("/mnt/backups"), "")
    assert third.retention == RetentionRules(30, {"monthly": 3})
    there = plan.at(second)
    assert (there.name, there.place, there.storage, there.copies) == (plan.name, "copy", second.storage, ())
    assert there.retention == second.retention


def test_a_database_of_a_server_has_its_folder_in_each_place(environment: pytest.MonkeyPatch) -> None:
    """A member of a whole server's plan has its own folder everywhere."""
    set_all(environment, SECOND, {"COPY2_PATH": "/mnt/backups", "BACKUP_DATABASES": "*"})
    member = Plan.from_settings(load_settings(NEEDS)).member("Shop")
    assert [place.storage.folder for place in member.destinations] == ["shop/.-shop"] * 3


def test_a_folder_alone_is_enough(environment: pytest.MonkeyPatch) -> None:
    """With a folder as the only place, there is no bucket and there are no keys."""
    for name in FIRST:
        environment.delenv(name)
    environment.setenv("S3_ENDPOINT", "file:///mnt/my%20backups/")
    plan = Plan.from_settings(load_settings(NEEDS))
    assert plan.storage == FolderStore(Path("/mnt/my backups"), "postgres-backups")
    assert BackupPlan.from_settings(load_settings(NEEDS)).plan("default").storage == plan.storage


@pytest.mark.parametrize(
    "value", ["file://host/mnt", "file:mnt", "file:///", "file:///a/../b", "file:///a//b", "file:///a?b", "file:///%00"]
)
def test_an_address_that_is_no_folder(environment: pytest.MonkeyPatch, value: str) -> None:
    """Only the whole path of a folder on this machine is one."""
    environment.setenv("S3_ENDPOINT", value)
    assert problems() == ["Invalid S3_ENDPOINT format"]


def test_what_a_copy_lacks(environment: pytest.MonkeyPatch) -> None:
    """Whoever sets anything of a copy has to set what it needs; everything is reported at once."""
    set_all(
        environment, {"COPY_RETENTION_DAYS": "9", "COPY2_S3_BUCKET": "other", "COPY3_PATH": "backups", "S3_BUCKET": ""}
    )
    names = ["S3_BUCKET", *SECOND, *(f"COPY2_S3_{name}" for name in ("ENDPOINT", "ACCESS_KEY_ID", "SECRET_ACCESS_KEY"))]
    assert problems() == [
        *(f"Required environment variable {n} is not set" for n in names),
        "Invalid COPY3_PATH format",
    ]


def test_what_contradicts_itself(environment: pytest.MonkeyPatch) -> None:
    """A copy is in one place, and a place to drill exists."""
    set_all(environment, SECOND, {"COPY_PATH": "/mnt/backups", "VERIFY_DESTINATION": "copy3"})
    assert problems() == [
        "COPY_PATH and COPY_S3_ENDPOINT are both set",
        "VERIFY_DESTINATION is copy3, but there is no such place",
    ]


@pytest.mark.parametrize("prefix", ["shop", "shop/copies", "/"])
def test_the_same_place_twice(environment: pytest.MonkeyPatch, prefix: str) -> None:
    """A copy in the place itself, within it or around it would be lost with it."""
    same = {f"COPY_{name}": FIRST[name] for name in FIRST if name.startswith("S3_")}
    set_all(environment, same, {"COPY_PREFIX": prefix, "COPY_S3_ACCESS_KEY_ID": "another"})
    assert problems() == ["primary and copy are the same place, or one is in the other: backups/shop"]


def test_a_saved_plan_has_its_copies(environment: pytest.MonkeyPatch) -> None:
    """The block, and the file that describes it, have everything that the environment says of copies."""
    given = {**SECOND, "COPY_KEEP_DAILY": "5", "COPY2_S3_ENDPOINT": "file:///mnt/my%20backups", "COPY3_PATH": "/mnt/third",
             "COPY3_PREFIX": "there", "VERIFY_DESTINATION": "copy2"}  # fmt: skip
    set_all(environment, given)
    block = BackupPlan.from_settings(load_settings(NEEDS))
    plan = Plan.from_settings(load_settings(NEEDS))
    assert block.plan("default") == plan
    described = block.described()
    assert described["COPY_S3_SECRET_ACCESS_KEY"] == SecretStr("second-secret")
    shown = {
        name: value.get_secret_value() if isinstance(value, SecretStr) else value for name, value in described.items()
    }
    again = load_settings(NEEDS, shown)
    assert BackupPlan.from_settings(again).plan("default") == plan


def test_no_secret_of_a_copy_is_shown(environment: pytest.MonkeyPatch) -> None:
    """The keys of every place are masked, and none is accepted in a file of plans."""
    set_all(environment, SECOND)
    plan = Plan.from_settings(load_settings(NEEDS))
    assert "second-secret" not in repr(plan)
    for name in SECOND:
        environment.delenv(name)
    assert "second-secret" not in mask_of(plan)("of second-secret")
    with pytest.raises(ConfigurationError, match="has a secret in COPY2_S3_SECRET_ACCESS_KEY"):
        read_fleet("plans: {shop: {COPY2_S3_SECRET_ACCESS_KEY: x}}")
    with pytest.raises(ConfigurationError, match="of keys that expire"):
        read_fleet("plans: {shop: {COPY_S3_SESSION_TOKEN: x}}")


def test_two_places_on_one_disk(environment: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A check tells that what is written to one place appears in another, whatever their addresses say."""
    (tmp_path / "disk").mkdir()
    (tmp_path / "other").mkdir()
    set_all(
        environment, {"S3_ENDPOINT": f"file://{tmp_path}/disk", "COPY_PATH": f"{tmp_path}/disk", "COPY_PREFIX": "b"}
    )
    environment.setenv("COPY2_PATH", f"{tmp_path}/other")
    (alike,) = check_places(Plan.from_settings(load_settings(NEEDS)), lambda _: [])
    assert (alike.name, alike.result) == ("copy", "warning")
    assert alike.text == "primary and copy are in the same bucket, or on the same disk"
    assert not [path for path in tmp_path.rglob("*") if path.is_file()]
