"""Take what the environment says of a database and its backups, by variable, to write it down."""

from __future__ import annotations

from collections.abc import Mapping

from pydantic import SecretStr

from blocks.config.env_file import line_of
from blocks.config.environment import variable
from blocks.config.load import load_settings, variable_of
from blocks.config.settings import OF_A_PLAN, SECTIONS
from blocks.errors import ConfigurationError, Problem


def plan_variables() -> dict[str, str]:
    """The variables of a plan that the environment sets, in the order of the documentation."""
    found = {name: variable(name).strip() for name in _names()}
    found["S3_BUCKET"] = found["S3_BUCKET"] or variable("BUCKET_NAME").strip()
    return {name: value for name, value in found.items() if value}


def require_writable(values: Mapping[str, str], *, no_secrets: bool) -> None:
    """Raise ConfigurationError with every variable that a file `.env` can't hold."""
    problems: list[Problem] = []
    left_out = secret_variables(values) if no_secrets else ()
    for name in [name for name in values if name not in left_out]:
        try:
            line_of(name, values[name])
        except ConfigurationError as error:
            problems += error.problems
    if problems:
        raise ConfigurationError(problems)


def secret_variables(values: Mapping[str, str]) -> tuple[str, ...]:
    """Those of the variables that hold a password or a secret key."""
    settings = load_settings(frozenset(), values)
    fields = {variable_of(field): field for field in type(settings).model_fields}
    return tuple(name for name in values if isinstance(getattr(settings, fields[name]), SecretStr))


def _names() -> list[str]:
    return [variable_of(field) for title in OF_A_PLAN for field in SECTIONS[title].model_fields]
