"""Generate the parts of documents that come from code: `make docs` writes them, and a test checks they are current.

A part begins with `<!-- generated: NAME -->` and ends with `<!-- end -->`; in `.env.example`, headings mark the parts.
"""

from __future__ import annotations

import re
import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from pydantic import BaseModel

from blocks.config.load import Need, load_settings, variable_of
from blocks.config.says import Says
from blocks.config.settings import SECTIONS
from blocks.errors import ConfigurationError
from blocks.s3.providers import GB, GIB, MIB, PROVIDERS, Provider

ROOT = Path(__file__).parents[1]
# What each command requires at startup; a test of the command line keeps this accurate.
NEEDS: dict[str, tuple[Need, ...]] = {
    "init": ("database", "storage", "drill"),
    "check": ("database", "storage", "drill"), "backup": ("database", "storage"), "list": ("storage",), "acknowledge": ("storage",), "drill": ("drill", "storage"),
    "prune": ("storage",), "status": ("storage",), "restore": ("storage", "target"), "evidence report": ("storage",), "serve": ("database", "storage"), "plan add": ("database", "storage"),
}  # fmt: skip
_WIDTH = 120


def documented(section: type[BaseModel]) -> Iterator[tuple[str, str, Says]]:
    """Return the variables of a section: name, default as written in a shell, and description."""
    for field, info in section.model_fields.items():
        if field.startswith(("copy2_", "copy3_")):  # the same as those of the first copy
            continue
        default: Any = info.default
        text = default.get_secret_value() if hasattr(default, "get_secret_value") else default
        shown = "" if text is None else str(text).lower() if isinstance(text, bool) else str(text)
        yield variable_of(field), shown, next(m for m in info.metadata if isinstance(m, Says))


def variables(section: type[BaseModel]) -> str:
    """Return the table for a section in docs/configuration.md."""
    rows = [
        f"| `{name}` | {f'`{default}` ' if default else ''}| `{says.example}` | {says.meaning} |"
        for name, default, says in documented(section)
    ]
    return "\n".join(["| variable | default | example | meaning |", "|---|---|---|---|", *rows])


def example(section: type[BaseModel]) -> str:
    """Return a section of .env.example: required variables are blank to fill in, optional ones show their default."""
    lines = [f"# {(section.__doc__ or '').strip()}"]
    for name, default, says in documented(section):
        needed = bool(says.missing) and name.startswith(("DATABASE", "S3_"))
        filled = "" if name.endswith(("_KEY", "_KEY_ID")) else says.example
        lines += [f"# {line}" for line in textwrap.wrap(_first_sentence(says.meaning), _WIDTH - 2)]
        lines.append(f"{name}={filled}" if needed else f"# {name}={default}")
    return "\n".join(lines)


def _first_sentence(markdown: str) -> str:
    plain = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", markdown).replace("`", "")
    return re.split(r"(?<=[.])\s", plain)[0]


def commands() -> str:
    """Return which variables each command requires."""
    rows = [
        f"| `pg-roundtrip {name}` | {', '.join(f'`{v}`' for v in missing(needs))} |" for name, needs in NEEDS.items()
    ]
    return "\n".join(["| command | needs |", "|---|---|", *rows])


def missing(needs: tuple[Need, ...]) -> list[str]:
    """Return what an empty environment lacks for these needs."""
    try:
        load_settings(frozenset(needs))
    except ConfigurationError as error:
        return [fault.message.split()[3] for fault in error.problems]
    return []


def providers() -> str:
    """Return the table for docs/providers.md."""
    head = ["`S3_PROVIDER`", "provider", "recognised by", "bucket in the", "most parts", "size of a part", "equal parts", "digests",
            "region", "deleted backups"]  # fmt: skip
    rows = [head, ["---"] * len(head), *map(_provider, PROVIDERS)]
    return "\n".join(f"| {' | '.join(row)} |" for row in rows)


def _provider(one: Provider) -> list[str]:
    region = f"`{one.region}`"
    return [
        f"`{one.key}`", one.name, ", ".join(f"`{host}`" for host in one.hosts) or "its name only",
        "host" if one.addressing_style == "virtual" else "path", f"{one.max_parts:,}",
        f"{one.min_part_bytes // MIB} MiB to {f'{one.max_part_bytes // GIB} GiB' if one.max_part_bytes % GIB == 0 else f'{one.max_part_bytes // GB} GB'}",
        "yes" if one.equal_parts else "no", "yes" if one.content_md5 else "no",
        f"of the endpoint, else {region}" if one.region_in_host else region, "kept" if one.keeps_versions else "gone",
    ]  # fmt: skip


def parts() -> dict[str, str]:
    """Return every generated part by name."""
    made = {title: variables(section) for title, section in SECTIONS.items()}
    return {**made, "commands": commands(), "providers": providers()}


def written(path: Path) -> str:
    """Return a document with its generated parts up to date."""
    text = path.read_text()
    if path.name == ".env.example":
        for title, section in SECTIONS.items():
            pattern = re.compile(rf"(?<=^# --- {title} ---\n).*?(?=\n\n# --- |\n*\Z)", re.MULTILINE | re.DOTALL)
            body = example(section)
            text = pattern.sub(lambda _, body=body: body, text)  # type: ignore[misc]
        return text
    for name, body in parts().items():
        pattern = re.compile(rf"(?<=<!-- generated: {name} -->\n\n).*?(?=\n\n<!-- end -->)", re.DOTALL)
        text = pattern.sub(lambda _, body=body: body, text)  # type: ignore[misc]
    return text


DOCUMENTS = [ROOT / "docs" / "configuration.md", ROOT / "docs" / "providers.md", ROOT / ".env.example"]


def main() -> None:
    """Write all of them, and print which changed."""
    for path in DOCUMENTS:
        new = written(path)
        if new != path.read_text():
            path.write_text(new)
            sys.stdout.write(f"{path.relative_to(ROOT)}\n")


if __name__ == "__main__":
    main()
