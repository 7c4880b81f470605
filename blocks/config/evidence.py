"""Find what evidence needs in the environment: the private key, which nothing else may see, and the targets."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from blocks.config.environment import variable
from blocks.config.load import load_settings
from blocks.config.settings import Settings
from blocks.config.values import SIGNING_KEY_RULE, private_key_in
from blocks.errors import ConfigurationError, Problem

_FILE_BYTES = 10_000


@dataclass(frozen=True)
class Targets:
    """How much may be lost, and how long a restore may take; None for what nobody has set."""

    rpo_s: int | None = None
    rto_s: int | None = None


def targets() -> Targets:
    """Return the targets that the environment sets."""
    settings = load_settings(frozenset())
    return Targets(settings.rpo_target_s, settings.rto_target_s)


def signs() -> bool:
    """Whether certificates are to be signed here: on a worker that signs nothing, no other variable matters."""
    return bool(variable("EVIDENCE_KEY").strip() or variable("EVIDENCE_KEY_FILE").strip())


def signing_key() -> bytes | None:
    """Return the private key in DER; None if there is none. Raises ConfigurationError for a file that holds none."""
    settings = load_settings(frozenset())
    if settings.evidence_key:
        return private_key_in(settings.evidence_key.get_secret_value())
    return _from_file(settings) if settings.evidence_key_file else None


def _from_file(settings: Settings) -> bytes:
    path = Path(settings.evidence_key_file or "")
    try:
        with path.open("rb") as file:
            return private_key_in(file.read(_FILE_BYTES).decode())
    except OSError as error:
        problem = Problem(
            f"EVIDENCE_KEY_FILE cannot be read [{path}: {error.strerror}]", "correct the path or its rights"
        )
    except ValueError:
        problem = Problem(f"EVIDENCE_KEY_FILE has no usable key [{path}]", SIGNING_KEY_RULE)
    raise ConfigurationError([problem])
