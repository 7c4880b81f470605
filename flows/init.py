"""`pg-roundtrip init`: the command that leads a newcomer to a file `.env` and the first proven backup."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

File = Annotated[Path, typer.Option("--file", help="The file to write.")]
Force = Annotated[bool, typer.Option("--force", help="Replace an existing file, and keep it as .env.old beside it.")]
NoSecrets = Annotated[bool, typer.Option("--no-secrets", help="Leave passwords and secret keys out of the file.")]
NoBackup = Annotated[bool, typer.Option("--no-backup", help="Write the file, but take no backup.")]
Price = Annotated[
    float | None,
    typer.Option("--price-per-gb-month", min=0, help="Your storage's price in USD; 0.023, Amazon S3 Standard's, is an example."),
]  # fmt: skip


def init(
    file: File = Path(".env"),
    force: Force = False,
    no_secrets: NoSecrets = False,
    no_backup: NoBackup = False,
    price: Price = None,
) -> None:
    """Set everything up: ask, check, propose, write .env, take the first backup and drill it."""
    from blocks.config.env_file import require_new  # noqa: PLC0415  (what a command does is imported when it is called)
    from flows import newcomer  # noqa: PLC0415

    require_new(file, force=force)
    given, plan = newcomer.ask_and_check(no_secrets=no_secrets)
    settings = newcomer.agree_on_policies(given, plan.source, price)
    newcomer.write(file, settings, force=force, no_secrets=no_secrets)
    status = 0 if no_backup else newcomer.prove(settings, price)
    newcomer.say_next(file, settings, backed_up=not no_backup)
    raise typer.Exit(status)
