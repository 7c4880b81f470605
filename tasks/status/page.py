"""Write the status page: one HTML file with everything in it, no scripts, nothing from elsewhere."""

from __future__ import annotations

import hashlib
import re
from base64 import b64encode
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING

from tasks.engine.repository.checks import counted
from tasks.engine.wording import human_bytes, tool_version, visible
from tasks.status import charts
from tasks.status.judgement import Colour
from tasks.status.series import NEWEST, DayState
from tasks.status.summary import Status

if TYPE_CHECKING:
    from jinja2 import Template

_TEMPLATE = Path(__file__).with_name("page.html.j2")
_STYLE = re.compile(r"<style>(.*?)</style>", re.DOTALL)
_REMOVALS = 6
_ICON_COLOURS = {Colour.FINE: "1a7f37", Colour.ATTENTION: "9a6700", Colour.BAD: "cf222e"}
_LEGEND = (
    DayState.PROVEN, DayState.KEPT, DayState.FAILED, DayState.INCONCLUSIVE, DayState.MISSED, DayState.NONE,
)  # fmt: skip


def render(status: Status, links: Mapping[str, str] = MappingProxyType({}), refresh_s: int = 0) -> str:
    """Return the page; `links` are further pages by their names, `refresh_s` is when a browser loads it again."""
    return _template().render(
        status=status, links=links, refresh_s=refresh_s, charts=charts, legend=_LEGEND, newest=NEWEST,
        most_removals=_REMOVALS, icon=_ICON_COLOURS[status.judgement.colour], version=tool_version(), policy=policy(),
    )  # fmt: skip


@cache
def policy() -> str:
    """Return what the page may load, for the header Content-Security-Policy: its own style, and its icon."""
    style = _STYLE.search(_TEMPLATE.read_text())
    assert style
    digest = b64encode(hashlib.sha256(style[1].encode()).digest()).decode()
    return f"default-src 'none'; style-src 'sha256-{digest}'; img-src data:; base-uri 'none'; form-action 'none'"


@cache
def _template() -> Template:
    from jinja2 import Environment, StrictUndefined  # noqa: PLC0415  (only the page needs it)

    made = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    made.filters |= {"visible": visible, "human_bytes": human_bytes, "counted": counted}
    return made.from_string(_TEMPLATE.read_text())
