"""Read a file of many plans: each is described by the variables of the plan `default`, and secrets only by where they are."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from io import StringIO
from typing import Any, Literal, get_args

from pydantic import SecretStr
from ruamel.yaml import YAML
from ruamel.yaml.error import MarkedYAMLError, YAMLError

from blocks.config.copy_settings import COPIES
from blocks.config.load import variable_of
from blocks.config.settings import OF_A_PLAN, SECTIONS, Settings
from blocks.config.values import BLOCK_NAME
from blocks.errors import ConfigurationError, Problem
from blocks.sql.url import SECRET_PARAMETERS, parse_database_url

Kind = Literal["env", "file", "secret"]
FLEET_BYTES = 8 << 20
# What a plan leaves to whoever runs it: the target of a restore, and keys that expire.
_TOKENS = {"S3_SESSION_TOKEN", *(f"{place.upper()}_S3_SESSION_TOKEN" for place in COPIES)}
_NOT_SAVED = {"RESTORE_DATABASE_URL", *_TOKENS}
VARIABLES = {
    name: field
    for section in OF_A_PLAN
    for field in SECTIONS[section].model_fields
    if (name := variable_of(field)) not in _NOT_SAVED
}
_KINDS: tuple[Kind, ...] = get_args(Kind)
_REFER = "write where it is: {env: NAME}, {file: PATH} or {secret: NAME} for a Secret block of Prefect"
_SHAPE = "docs/scaling.md shows such a file: `defaults` and `plans`, each with variables and their values"


@dataclass(frozen=True)
class Reference:
    """Where a value is: a variable of the environment, a file, or a Secret block of Prefect."""

    kind: Kind
    name: str


@dataclass(frozen=True)
class Entry:
    """A plan as the file describes it, and the work pool whose workers are to run it."""

    name: str
    given: Mapping[str, str | Reference]
    pool: str | None = None


def read_fleet(text: str) -> list[Entry]:
    """Return the plans of a file; raises ConfigurationError with everything that is wrong with it.

    Values are taken as they are written, like those of variables. `{plan}` in one stands for the plan's name, and `{PLAN}`
    for the name as it would be part of a variable's: `shop-eu` is `SHOP_EU`.
    """
    document = _mapping(_parsed(text), "The file")
    faults = [
        Problem(f"The file has an unknown part {name}", _SHAPE)
        for name in document
        if name not in ("defaults", "plans")
    ]
    defaults = _mapping(document.get("defaults"), "The part defaults")
    plans = _mapping(document.get("plans"), "The part plans")
    if not plans:
        faults.append(Problem("The file names no plan", _SHAPE))
    faults += _wrong_values("The part defaults", defaults)
    for name, own in plans.items():
        faults += _wrong_name(name)
        faults += _wrong_values(f"Plan {name}", _mapping(own, f"Plan {name}"))
    if faults:
        raise ConfigurationError(faults)
    return [_entry(name, {**defaults, **_mapping(own, name)}) for name, own in plans.items()]


def _parsed(text: str) -> Any:
    # Plain texts: whoever writes 007 or `no` means that. Nothing in the file is quoted in an error: it may be a secret.
    try:
        return YAML(typ="base", pure=True).load(text)
    except MarkedYAMLError as error:
        line = f" in line {error.problem_mark.line + 1}" if error.problem_mark else ""
        twice = "a name is there twice" if "duplicate" in str(error.problem) else "not YAML"
        raise ConfigurationError([Problem(f"The file cannot be read [{twice}{line}]", _SHAPE)]) from None
    except (YAMLError, RecursionError, ValueError):
        raise ConfigurationError([Problem("The file cannot be read [not YAML]", _SHAPE)]) from None


def _mapping(value: Any, what: str) -> dict[str, Any]:
    if value in (None, ""):
        return {}
    if not isinstance(value, dict) or not all(isinstance(name, str) for name in value):
        raise ConfigurationError([Problem(f"{what} is no list of names with values", _SHAPE)])
    return value


def _wrong_name(name: str) -> Iterator[Problem]:
    if not re.fullmatch(BLOCK_NAME, name) or len(name) > 100:
        yield Problem(
            f"Invalid plan name {name}", "use lowercase letters, digits and single dashes between them, as in shop-eu"
        )


def _wrong_values(where: str, given: Mapping[str, Any]) -> Iterator[Problem]:
    for name, value in given.items():
        if name not in (*VARIABLES, "pool"):
            yield _unknown(where, name)
        elif isinstance(value, dict):
            if len(value) != 1 or not set(value) <= set(_KINDS) or not isinstance(next(iter(value.values())), str):
                yield Problem(f"{where} says of {name} neither a value nor where it is", _REFER)
            elif name == "pool":
                yield Problem(f"{where} names no work pool", "write the pool's name itself")
        elif not isinstance(value, str):
            yield Problem(f"{where} has several values for {name}", "separate them by commas in one text")
        elif name != "pool" and _is_secret(name, value):
            yield Problem(f"{where} has a secret in {name}", _REFER)


def _unknown(where: str, name: str) -> Problem:
    if name in _TOKENS:
        return Problem(f"{where} has {name}, of keys that expire", "use lasting keys, made for the plan alone")
    if name in {variable_of(field) for field in Settings.model_fields}:
        return Problem(f"{where} has {name}, which is no part of a plan", "set it where the plan runs")
    like = get_close_matches(name, VARIABLES, 1, 0.6)
    return Problem(f"{where} has an unknown variable {name}", f"do you mean {like[0]}?" if like else _SHAPE)


def _is_secret(variable: str, value: str) -> bool:
    """Whether a value that is written out must not be in a file that people share."""
    if not value.strip() or not _has_secret(Settings.model_fields[VARIABLES[variable]].annotation):
        return False
    if not variable.endswith("_URL"):
        return True
    try:
        return not SECRET_PARAMETERS.isdisjoint(parse_database_url(value)[0])
    except ValueError:
        return True  # who knows what it contains


def _has_secret(annotation: Any) -> bool:
    return annotation is SecretStr or any(map(_has_secret, get_args(annotation)))


def _entry(name: str, given: dict[str, Any]) -> Entry:
    pool = given.pop("pool", "")
    return Entry(name, {variable: _value(value, name) for variable, value in given.items()}, _named(pool, name) or None)


def _value(value: str | dict[Kind, str], plan: str) -> str | Reference:
    if isinstance(value, str):
        return _named(value, plan)
    ((kind, name),) = value.items()
    return Reference(kind, _named(name, plan))


def _named(text: str, plan: str) -> str:
    return text.replace("{plan}", plan).replace("{PLAN}", plan.upper().replace("-", "_"))


def fleet_text(plans: Mapping[str, Mapping[str, str | SecretStr]], pools: Mapping[str, str]) -> str:
    """Write a file that describes plans; each secret is a reference to a variable that the reader has to set."""
    described = {
        name: {v: _written(name, v, given[v]) for v in VARIABLES if v in given} for name, given in plans.items()
    }
    if odd := [name for name, given in described.items() if any(map(_has_mark, given.values()))]:
        raise ConfigurationError(
            [
                Problem(
                    f"Plan {name} has {{plan}} in a value, which a file can't have",
                    "leave it out, or rename its folder",
                )
                for name in odd
            ]
        )
    for name, pool in pools.items():
        if name in described:
            described[name]["pool"] = pool
    wanted = [value["env"] for given in described.values() for value in given.values() if isinstance(value, dict)]
    text = StringIO()
    yaml = YAML(pure=True)
    yaml.width = 1_000_000
    yaml.dump({"plans": described}, text)
    return "".join(f"# Set {name} before importing this.\n" for name in wanted) + text.getvalue()


def _written(plan: str, variable: str, value: str | SecretStr) -> str | dict[str, str]:
    # Two underscores: of the plans `shop` and `shop-verify`, each has a variable of its own, and none is one of ours.
    return {"env": _named(f"{{PLAN}}__{variable}", plan)} if isinstance(value, SecretStr) else value


def _has_mark(value: str | dict[str, str]) -> bool:
    return isinstance(value, str) and ("{plan}" in value or "{PLAN}" in value)
