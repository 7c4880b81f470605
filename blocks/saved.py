"""Load what is saved as a Prefect block, and say in our words when it is not there, cannot be used, or nobody answers."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TypeVar

import httpx
from prefect.blocks.core import Block
from pydantic import ValidationError

from blocks.config.says import WHEN_INVALID
from blocks.errors import ConfigurationError, Fault, PrefectUnreachable

B = TypeVar("B", bound=Block)
_BROKEN = (
    "look at the server's log; with another PREFECT_SERVER_ENCRYPTION_KEY than before it cannot read what is saved there"
    " (docs/runbooks/lost-prefect-database.md)"
)
_NO_START = (
    "give PREFECT_HOME an empty folder, if it holds a database that cannot be used; else the machine is too busy"
)


@contextmanager
def translated() -> Iterator[None]:
    """Turn the errors of Prefect's client into ours."""
    try:
        yield
    except httpx.HTTPStatusError as error:
        hint = _BROKEN if error.response.is_server_error else None
        raise PrefectUnreachable(f"it answered {error.response.status_code}", hint=hint) from None
    except httpx.HTTPError as error:
        raise PrefectUnreachable(type(error).__name__) from None
    except json.JSONDecodeError:
        raise PrefectUnreachable("what it answered is no JSON", hint="PREFECT_API_URL ends in /api") from None
    except RuntimeError as error:
        # Prefect's sentences for whatever befell the first request of a run; the address in it is left out.
        if str(error).startswith("Timed out while attempting to connect to ephemeral"):
            raise PrefectUnreachable("a temporary one did not start", hint=_NO_START) from None
        if not str(error).startswith("Failed to reach API"):
            raise
        raise PrefectUnreachable(type(error.__cause__).__name__) from None


def load_saved(kind: type[B], name: str) -> B | None:
    """The block of a kind that was saved under a name; None when there is none.

    Raises ConfigurationError for one with values that cannot be: the forms of the Prefect UI take more than the code.
    """
    try:
        with translated():
            loaded = kind.load(name)
    except ValueError:
        return None
    except RuntimeError as error:
        fault = Fault(f"Invalid {kind.get_block_type_name()} block {name} [{_faulty(error)}]", WHEN_INVALID)
        raise ConfigurationError([fault]) from None
    assert isinstance(loaded, kind)
    return loaded


def _faulty(error: RuntimeError) -> str:
    """The fields that are wrong, without their values: one may be a secret."""
    cause = error.__cause__
    faults = cause.errors(include_input=False, include_url=False) if isinstance(cause, ValidationError) else []
    return ", ".join(sorted({".".join(map(str, fault["loc"])) for fault in faults})) or "its fields"
