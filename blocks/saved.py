"""Load saved Prefect blocks, and report missing or invalid ones and an unreachable server in our own words."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any, TypeVar

import httpx
from prefect.blocks.core import Block
from prefect.context import SyncClientContext
from pydantic import ValidationError

from blocks.config.says import WHEN_INVALID
from blocks.errors import ConfigurationError, PrefectUnreachable, Problem

B = TypeVar("B", bound=Block)
_BROKEN = (
    "look at the server's log; if PREFECT_SERVER_ENCRYPTION_KEY changed, the server cannot read what is saved there"
    " (docs/runbooks/lost-prefect-database.md)"
)

# What Prefect raises, without a public name, when its server is away at the moment that a tagged task starts.
_NO_SLOT = "ConcurrencySlotAcquisitionError"
_COMPUTE, _REGISTER = "model_json_schema", "register_type_and_schema"
_schemas: dict[Any, dict[str, Any]] = {}


@contextmanager
def translated() -> Iterator[None]:
    """Translate the errors of Prefect's client into ours."""
    try:
        yield
    except httpx.HTTPStatusError as error:
        hint = _BROKEN if error.response.is_server_error else None
        raise PrefectUnreachable(f"it answered {error.response.status_code}", hint=hint) from None
    except httpx.HTTPError as error:
        raise PrefectUnreachable(type(error).__name__) from None
    except json.JSONDecodeError:
        raise PrefectUnreachable("the response is not JSON", hint="PREFECT_API_URL must end in /api") from None
    except RuntimeError as error:
        # Prefect's wording for any failure of a run's first request. Leave out the address that it contains.
        if not str(error).startswith("Failed to reach API"):
            raise
        raise PrefectUnreachable(type(error.__cause__).__name__) from None
    except Exception as error:
        if type(error).__name__ != _NO_SLOT:
            raise
        raise PrefectUnreachable("it gives no concurrency slot for the dump") from None


@contextmanager
def saving() -> Iterator[None]:
    """Save blocks in a fraction of the time: for each one, Prefect otherwise registers all types and reads all certificates.

    It also computes a block's schema hundreds of times per plan, which takes seconds. Can be nested.
    """
    with SyncClientContext.get_or_create(), _prepared_once():
        yield


@contextmanager
def _prepared_once() -> Iterator[None]:
    """Compute the schema of each type once, and register each once."""
    compute, register = (vars(Block)[name].__func__ for name in (_COMPUTE, _REGISTER))
    registered = set[type[Block]]()

    def schema(cls: type[Block], *args: Any, **options: Any) -> dict[str, Any]:
        key = cls, args, tuple(options.items())
        if key not in _schemas:
            _schemas[key] = compute(cls, *args, **options)
        return dict(_schemas[key])  # nothing in it is ever changed, and deep copies would take most of the time

    def register_once(cls: type[Block], *args: Any, **options: Any) -> Any:
        if cls not in registered:
            registered.add(cls)
            return register(cls, *args, **options)
        return None

    with ExitStack() as stack:
        if register.__name__ != register_once.__name__:  # else we are within another
            for name, replacement in ((_COMPUTE, schema), (_REGISTER, register_once)):
                stack.callback(setattr, Block, name, vars(Block)[name])
                setattr(Block, name, classmethod(replacement))
        yield


def load_saved(kind: type[B], name: str) -> B | None:
    """Load the block of a kind that was saved under a name; None if there is none.

    Raises ConfigurationError if its values are invalid: the forms of the Prefect UI accept more than the code.
    """
    try:
        with translated():
            loaded = kind.load(name)
    except ValueError:
        return None
    except RuntimeError as error:
        fault = Problem(f"Invalid {kind.get_block_type_name()} block {name} [{_faulty(error)}]", WHEN_INVALID)
        raise ConfigurationError([fault]) from None
    assert isinstance(loaded, kind)
    return loaded


def _faulty(error: RuntimeError) -> str:
    """List the invalid fields without their values, which may be secrets."""
    cause = error.__cause__
    faults = cause.errors(include_input=False, include_url=False) if isinstance(cause, ValidationError) else []
    return ", ".join(sorted({".".join(map(str, fault["loc"])) for fault in faults})) or "its fields"
