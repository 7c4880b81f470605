"""Ask for settings on a terminal, and check each answer at once by the rules of the environment's settings."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import typer

from blocks.config.env_file import line_of
from blocks.config.load import load_settings, when_missing
from blocks.errors import ConfigurationError, Problem
from flows.lines import print_error, print_line


@dataclass(frozen=True)
class Question:
    """One variable to ask for; what is typed for a hidden one is not shown."""

    name: str
    text: str
    hidden: bool = False
    default: str = ""


QUESTIONS = (
    Question("DATABASE_URL", "The database, as postgresql://user:password@host:5432/database (not shown)", hidden=True),
    Question("S3_ENDPOINT", "The storage's address, for example https://s3.eu-central-1.amazonaws.com"),
    Question("S3_BUCKET", "The bucket for backups; it must exist"),
    Question("S3_ACCESS_KEY_ID", "The storage's access key"),
    Question("S3_SECRET_ACCESS_KEY", "The secret for that key (not shown)", hidden=True),
    Question("BACKUP_PREFIX", "The folder in the bucket, one for each database", default="postgres-backups"),
)
CHANGES = (
    Question("BACKUP_INTERVAL", "Seconds between backups"),
    Question("VERIFY_INTERVAL", "Seconds between drills"),
    Question("BACKUP_RETENTION_DAYS", "Keep every backup of this many days"),
)


def on_a_terminal() -> bool:
    """Whether someone can be asked."""
    return sys.stdin.isatty()


def ask(questions: Iterable[Question], given: Mapping[str, str], earlier: Mapping[str, str]) -> dict[str, str]:
    """Ask what is not given yet; earlier answers are offered again."""
    replaced = {"DATABASE_URL"} if "POSTGRES_HOST" in given else set()
    return {q.name: _answer(q, earlier.get(q.name, q.default)) for q in questions if q.name not in {*given, *replaced}}


def agree(question: str) -> bool:
    """Whether whoever can be asked agrees; without a terminal, everyone does."""
    return not on_a_terminal() or typer.confirm(question, default=True)


def _answer(question: Question, offered: str) -> str:
    """Ask until the answer is valid."""
    text = f"{question.name}: {question.text}"
    if question.hidden and offered:
        text += " [as before]"
    while True:
        said = typer.prompt(
            text, default=offered, hide_input=question.hidden, show_default=bool(offered) and not question.hidden
        )
        answer = str(said).strip()
        try:
            _require_valid(question.name, answer)
        except ConfigurationError as error:
            print_error(error.lines())
        else:
            return answer


def _require_valid(name: str, answer: str) -> None:
    if not answer:
        raise ConfigurationError([Problem(f"{name} is needed", when_missing(name))])
    load_settings(frozenset(), {name: answer})
    line_of(name, answer)


def say_taken(names: Iterable[str]) -> None:
    """Say which variables are not asked for; not their values, which may be secret."""
    for name in names:
        print_line(f"{name}: from the environment")
