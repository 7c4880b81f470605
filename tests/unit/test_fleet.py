"""A file of plans means what is written in it; whatever is wrong is said with the plan's name, and no secret is shown."""

from __future__ import annotations

import re
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import SecretStr
from ruamel.yaml import YAML

from blocks.config.fleet import VARIABLES, Entry, Reference, fleet_text, read_fleet
from blocks.config.load import variable_of
from blocks.config.settings import Settings
from blocks.config.taken import plan_variables
from blocks.errors import ConfigurationError
from tasks.fleet import differences
from tests.markdown import ROOT

SECRET = "geheim"


def faults(text: str) -> list[str]:
    """What is wrong with a file."""
    with pytest.raises(ConfigurationError) as caught:
        read_fleet(text)
    assert SECRET not in str(caught.value) + "".join(caught.value.lines())
    return [problem.message for problem in caught.value.problems]


def test_defaults_and_plans() -> None:
    """A plan has the defaults and its own values, as they are written; an empty one removes a default."""
    plans = read_fleet(
        """
defaults:
  pool: everywhere
  BACKUP_PREFIX: fleet/{plan}
  DATABASE_URL: {env: "{PLAN}_URL"}
  POSTGRES_USER: 007
  VERIFY_DATABASE_URL: {file: /run/{plan}}
plans:
  shop-eu:
  blog:
    pool: here
    VERIFY_STRICT: yes
    VERIFY_DATABASE_URL:
    S3_SECRET_ACCESS_KEY: {secret: key-of-blog}
""".replace("{file: /run/{plan}}", '{file: "/run/{plan}"}')
    )
    shop: dict[str, str | Reference] = {
        "BACKUP_PREFIX": "fleet/shop-eu", "DATABASE_URL": Reference("env", "SHOP_EU_URL"), "POSTGRES_USER": "007",
        "VERIFY_DATABASE_URL": Reference("file", "/run/shop-eu"),
    }  # fmt: skip
    blog = shop | {
        "BACKUP_PREFIX": "fleet/blog", "DATABASE_URL": Reference("env", "BLOG_URL"), "VERIFY_STRICT": "yes", "VERIFY_DATABASE_URL": "",
        "S3_SECRET_ACCESS_KEY": Reference("secret", "key-of-blog"),
    }  # fmt: skip
    assert plans == [Entry("shop-eu", shop, "everywhere"), Entry("blog", blog, "here")]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", ["The file names no plan"]),
        ("- a", ["The file is no list of names with values"]),
        ("plans: [a]", ["The part plans is no list of names with values"]),
        ("plans: {a: b}", ["Plan a is no list of names with values"]),
        ("plans: {a: {}", ["The file cannot be read [not YAML in line 1]"]),
        ("plans:\n  a: {}\n  a: {}\n", ["The file cannot be read [a name is there twice in line 3]"]),
        (f"plans:\n  a:\n    TZ: {SECRET}\n    TZ: {SECRET}\n", ["The file cannot be read [a name is there twice in line 4]"]),
        ("\0", ["The file cannot be read [not YAML]"]),
        ("[" * 5000, ["The file cannot be read [not YAML]"]),
        ("plan: {a: {}}\nplans: {b: {}}", ["The file has an unknown part plan"]),
        ("plans: {Shop: {}, a_b: {}}", ["Invalid plan name Shop", "Invalid plan name a_b"]),
        (f"plans: {{a: {{DATABASE_URL: 'postgresql://u:{SECRET}@h/d'}}}}", ["Plan a has a secret in DATABASE_URL"]),
        (f"plans: {{a: {{DATABASE_URL: 'postgresql://h/d?password={SECRET}'}}}}", ["Plan a has a secret in DATABASE_URL"]),
        (f"plans: {{a: {{DATABASE_URL: '{SECRET}'}}}}", ["Plan a has a secret in DATABASE_URL"]),
        (f"defaults: {{POSTGRES_PASSWORD: {SECRET}}}\nplans: {{a: {{}}}}", ["The part defaults has a secret in POSTGRES_PASSWORD"]),
        (f"plans: {{a: {{UI_PASSWORD: {SECRET}}}}}", ["Plan a has UI_PASSWORD, which is no part of a plan"]),
        (f"plans: {{a: {{S3_SESSION_TOKEN: {SECRET}}}}}", ["Plan a has S3_SESSION_TOKEN, of keys that expire"]),
        ("plans: {a: {BACKUP_INTERVALL: 60}}", ["Plan a has an unknown variable BACKUP_INTERVALL"]),
        ("plans: {a: {TZ: [UTC]}}", ["Plan a has several values for TZ"]),
        ("plans: {a: {TZ: {env: A, file: B}}}", ["Plan a says of TZ neither a value nor where it is"]),
        ("plans: {a: {TZ: {vault: A}}}", ["Plan a says of TZ neither a value nor where it is"]),
        ("plans: {a: {TZ: {env: [A]}}}", ["Plan a says of TZ neither a value nor where it is"]),
        ("plans: {a: {pool: {env: A}}}", ["Plan a names no work pool"]),
    ],
)  # fmt: skip
def test_what_is_wrong(text: str, expected: list[str]) -> None:
    """Everything that is wrong is said at once, with the place, and without the value of anything secret."""
    assert faults(text) == expected


PLAIN = [name for name in VARIABLES if not name.endswith(("DATABASE_URL", "S3_SECRET_ACCESS_KEY", "POSTGRES_PASSWORD"))]
TEXT = st.text(st.characters(exclude_categories=["Cs", "Cc"]), max_size=30).filter(lambda t: "{" not in t)
NAME = st.from_regex(r"\A[a-z0-9]{1,8}(-[a-z0-9]{1,8})?\Z")


@given(st.dictionaries(NAME, st.dictionaries(st.sampled_from(PLAIN), TEXT, max_size=5), min_size=1, max_size=4))
def test_what_is_exported_is_read_again(plans: dict[str, dict[str, str]]) -> None:
    """An exported file describes the same plans, whatever their values; secrets are where the file says."""
    described: dict[str, Any] = {name: given | {"DATABASE_URL": SecretStr(SECRET)} for name, given in plans.items()}
    text = fleet_text(described, dict.fromkeys(plans, "pool"))
    assert SECRET not in text
    for entry in read_fleet(text):
        variable = f"{entry.name.upper().replace('-', '_')}__DATABASE_URL"
        assert entry.given == plans[entry.name] | {"DATABASE_URL": Reference("env", variable)}
        assert f"# Set {variable} before importing this.\n" in text
        assert entry.pool == "pool"


@pytest.mark.parametrize("value", ["in/{plan}", "{PLAN}", "a{plan}b{plan}"])
def test_no_value_that_a_file_would_change_is_exported(value: str) -> None:
    """In a file, `{plan}` stands for the plan's name: exported as it is, it would mean another folder."""
    described: dict[str, Any] = {"good": {"BACKUP_PREFIX": "in/{other}"}, "odd": {"BACKUP_PREFIX": value}}
    with pytest.raises(ConfigurationError) as caught:
        fleet_text(described, {})
    assert [p.message for p in caught.value.problems] == ["Plan odd has {plan} in a value, which a file can't have"]
    (read,) = read_fleet(fleet_text({"good": described["good"]}, {"good": "pool"}))
    assert read.given == described["good"]


def test_a_secret_s_variable_is_of_one_plan_alone() -> None:
    """Plans `shop` and `shop-verify` don't share one, and none is a variable that already means something."""
    secret = SecretStr(SECRET)
    described: dict[str, Any] = {
        name: {"DATABASE_URL": secret, "VERIFY_DATABASE_URL": secret} for name in ("shop", "shop-verify", "restore")
    }
    text = fleet_text(described, dict.fromkeys(described, "pool"))
    named = [v.name for entry in read_fleet(text) for v in entry.given.values() if isinstance(v, Reference)]
    assert len(set(named)) == 6
    assert not set(named) & {variable_of(field) for field in Settings.model_fields}


def test_init_takes_all_that_describes_a_plan(monkeypatch: pytest.MonkeyPatch) -> None:
    """The file that `init` writes lacks nothing that the environment says of the plan, as a file of plans can say it."""
    for name in VARIABLES:
        monkeypatch.setenv(name, "x")
    assert plan_variables().keys() >= VARIABLES.keys()


def test_differences_show_no_secret() -> None:
    """A change of a secret is seen without being shown; an address without its password is."""
    old, new = (SecretStr(f"postgresql://u:{SECRET}{n}@h/d") for n in "12")
    elsewhere = SecretStr(f"postgresql://u:{SECRET}@other/d")
    assert list(differences({"DATABASE_URL": old}, {"DATABASE_URL": new})) == ["DATABASE_URL: another secret"]
    assert list(differences({"DATABASE_URL": old}, {"DATABASE_URL": elsewhere})) == [
        "DATABASE_URL: h:5432/d → other:5432/d"
    ]
    assert list(differences({"S3_SECRET_ACCESS_KEY": SecretStr("a")}, {})) == [
        "S3_SECRET_ACCESS_KEY: a secret → not set"
    ]
    assert list(differences({"TZ": "UTC"}, {"TZ": "UTC", "VERIFY_STRICT": "true"})) == ["VERIFY_STRICT: not set → true"]


def test_the_examples_of_the_documentation_are_valid() -> None:
    """The file that docs/scaling.md shows can be imported as it is."""
    text = (ROOT / "docs/scaling.md").read_text()
    examples = re.findall(r"```yaml\n(.*?)```", text, re.DOTALL)
    assert [[entry.name for entry in read_fleet(example)] for example in examples] == [["shop-eu", "shop-us", "blog"]]


def test_nothing_is_guessed_from_yaml() -> None:
    """Values that YAML would make numbers, dates or truth values stay what was written."""
    written = {"POSTGRES_USER": "0123", "POSTGRES_DB": "2026-11-30", "BACKUPS_OF": "no", "S3_BUCKET": "1e3"}
    text = "plans: {a: {" + ", ".join(f"{n}: {v}" for n, v in written.items()) + "}}"
    assert read_fleet(text)[0].given == written
    assert YAML(typ="safe", pure=True).load(text)["plans"]["a"] != written
