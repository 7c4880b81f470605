"""Find the private keys in the environment, which belong only where drills and restores run."""

from __future__ import annotations

from pathlib import Path

from blocks.config.environment import variable
from blocks.errors import ConfigurationError, Problem

_FILE_BYTES = 1 << 20


def has_identity() -> bool:
    """Whether a private key is at hand."""
    return bool(variable("AGE_IDENTITY").strip() or variable("AGE_IDENTITY_FILE").strip())


def identity_text() -> tuple[str, str]:
    """Return the text with the private keys, and the variable that it is from; raises ConfigurationError."""
    if text := variable("AGE_IDENTITY").strip():
        return text, "AGE_IDENTITY"
    path = variable("AGE_IDENTITY_FILE").strip()
    if not path:
        raise ConfigurationError([Problem("There is no private key here", "set AGE_IDENTITY_FILE to a file with it, or AGE_IDENTITY")])  # fmt: skip
    try:
        with Path(path).open("rb") as file:
            return file.read(_FILE_BYTES).decode(), "AGE_IDENTITY_FILE"
    except OSError as error:
        why = f"AGE_IDENTITY_FILE cannot be read [{path}: {error.strerror}]"
    except ValueError:
        why = f"AGE_IDENTITY_FILE is no text [{path}]"
    raise ConfigurationError([Problem(why, "correct the path or its rights")])
