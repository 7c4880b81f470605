"""Read which commands of the user's run around backups and drills, and what they get to see of the environment."""

from __future__ import annotations

from pydantic import ValidationError

from blocks.config.environment import full_environment
from blocks.config.hook_settings import HookSettings
from blocks.config.load import variable_of, when_malformed
from blocks.config.secrets import Mask
from blocks.config.settings import FromEnvironment, Settings
from blocks.errors import ConfigurationError, Problem

# What a user names so is meant for hooks, whatever it holds.
_FOR_HOOKS = "HOOK_"
# No program can do without them, and the password of a test database is often a word in a path.
_NEEDED = {"PATH", "HOME"}
_OTHERS = ("PG_ROUNDTRIP_", "PREFECT_", "BUCKET_NAME")


class _Alone(HookSettings, FromEnvironment):
    """These settings without all the others, which a worker need not have."""


def load_hooks() -> HookSettings:
    """Return the hooks that the environment sets; raises ConfigurationError."""
    try:
        return _Alone()
    except ValidationError as error:
        places = [str(e["loc"][0]).upper() for e in error.errors(include_input=False, include_url=False)]
    raise ConfigurationError([Problem(f"Invalid {name} format", when_malformed(name)) for name in places])


def environment_for_hooks(mask: Mask) -> dict[str, str]:
    """Return the user's own environment: without our settings, Prefect's, and whatever holds a secret of ours."""
    given = _of_the_user()
    return {name: value for name, value in given.items() if _is_meant(name) or not mask.hides(value)}


def withheld_from_hooks(mask: Mask) -> list[str]:
    """Return the names of the user's variables that hooks don't get, because they hold a secret of ours."""
    return sorted(name for name, value in _of_the_user().items() if not _is_meant(name) and mask.hides(value))


def _of_the_user() -> dict[str, str]:
    ours = {variable_of(field) for field in Settings.model_fields} - {"TZ"}
    others = ours | {name for name in full_environment() if name.startswith(_OTHERS)}
    return {name: value for name, value in full_environment().items() if name not in others}


def _is_meant(name: str) -> bool:
    return name.startswith(_FOR_HOOKS) or name in _NEEDED
