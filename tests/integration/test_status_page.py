"""The status page in a real browser: readable on a phone and on a wide screen, in light and in dark."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest

from tasks.engine.repository.manifest import Verdict
from tasks.status.page import render
from tasks.status.series import DayState
from tasks.status.summary import Status, summarize, unreadable
from tests.browser import Browser, Site, opened
from tests.status_facts import DAILY, NOW, facts_of, surveyed_of

PROVEN, FAILED, INCONCLUSIVE = Verdict.PROVEN, Verdict.FAILED, Verdict.INCONCLUSIVE
DAYS = [0.4 + 24 * n for n in range(60) if n not in (3, 4)]
DRILLS = dict.fromkeys(DAYS[1::3], PROVEN) | {DAYS[9]: FAILED, DAYS[12]: INCONCLUSIVE}
SHOP = surveyed_of(facts_of(DAYS, DRILLS, due=DAILY), kept_days=90)
CRM = surveyed_of(facts_of(DAYS[5:], {DAYS[5]: FAILED}, due=None), "production/crm", "crm")
OLD = surveyed_of(facts_of([9000, 9024], {9000: PROVEN}, due=None), "production/old", "old")
HOSTILE = surveyed_of(facts_of([0.4, 1.4], {1.4: INCONCLUSIVE}, shared=("Q" * 500, "x" * 500)), "f" * 500, "W" * 500)
STATUSES = {
    "fine": summarize([SHOP], NOW), "late": summarize([SHOP], NOW + timedelta(days=3)), "several": summarize([SHOP, CRM, OLD], NOW),
    "hostile": summarize([HOSTILE, SHOP], NOW, "n" * 500), "one": summarize([surveyed_of(facts_of([0.4]))], NOW),
    "empty": summarize([surveyed_of(facts_of([]))], NOW), "unreadable": unreadable("Cannot connect to S3", "try", NOW),
}  # fmt: skip

# What a careful reader would complain about. Runs in the page.
LOOK = r"""() => {
  const complaints = [], seen = [...document.querySelectorAll('main *')].filter(e => !e.closest('svg'));
  if (document.documentElement.scrollWidth > innerWidth) complaints.push(`scrolls to ${document.documentElement.scrollWidth}`);
  const text = e => [...e.childNodes].filter(n => n.nodeType == 3 && n.textContent.trim());
  const boxes = seen.flatMap(e => text(e).flatMap(n => {
    const range = document.createRange(); range.selectNodeContents(n);
    return [...range.getClientRects()].map(box => ({box, said: n.textContent.trim().slice(0, 30)}));
  }));
  for (const {box, said} of boxes) if (box.left < -0.5 || box.right > innerWidth + 0.5) complaints.push(`cut off: ${said}`);
  boxes.forEach((a, n) => boxes.slice(n + 1).forEach(b => {
    const wide = Math.min(a.box.right, b.box.right) - Math.max(a.box.left, b.box.left);
    const high = Math.min(a.box.bottom, b.box.bottom) - Math.max(a.box.top, b.box.top);
    if (wide > 1 && high > 4) complaints.push(`overlap: ${a.said} / ${b.said}`);
  }));
  const channels = colour => (colour.match(/[\d.]+/g) || []).map(Number);
  const light = ([r, g, b]) => [r, g, b].map(v => v / 255).map(v => v <= .03928 ? v / 12.92 : ((v + .055) / 1.055) ** 2.4)
    .reduce((sum, v, n) => sum + v * [.2126, .7152, .0722][n], 0);
  const behind = e => { for (; e; e = e.parentElement) {
    const found = channels(getComputedStyle(e).backgroundColor); if (found.length == 3 || found[3] == 1) return found; } return [255, 255, 255]; };
  const ratio = (one, other) => { const [a, b] = [light(one), light(other)].sort((x, y) => y - x); return (a + .05) / (b + .05); };
  for (const e of seen.filter(e => text(e).length)) {
    const found = ratio(channels(getComputedStyle(e).color), behind(e));
    if (found < 4.5) complaints.push(`contrast ${found.toFixed(1)}: ${e.textContent.trim().slice(0, 30)}`);
    if (parseFloat(getComputedStyle(e).fontSize) < 12) complaints.push(`small: ${e.textContent.trim().slice(0, 30)}`);
  }
  for (const e of document.querySelectorAll('svg text')) {
    const found = ratio(channels(getComputedStyle(e).fill), behind(e));
    if (found < 4.5) complaints.push(`contrast ${found.toFixed(1)}: ${e.textContent}`);
    if (e.getBoundingClientRect().height < 9) complaints.push(`small: ${e.textContent}`);
  }
  for (const e of document.querySelectorAll('svg:not([aria-hidden]):not([aria-label])')) complaints.push(`unnamed: ${e.outerHTML.slice(0, 60)}`);
  const cells = [...document.querySelectorAll('.calendar > svg rect')].map(e => e.getBoundingClientRect().width);
  if (cells.length && Math.min(...cells) < 9) complaints.push(`cells of ${Math.min(...cells)}`);
  return complaints;
}"""


@pytest.fixture(scope="module")
def window(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    """One browser, with all pages in a folder."""
    folder: Path = tmp_path_factory.mktemp("pages")
    for name, status in STATUSES.items():
        (folder / f"{name}.html").write_text(render(status, {"History (Prefect)": "/dashboard"}))
    with opened(Site(f"file://{folder}")) as browser:
        yield browser


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [360, 1280])
def test_everybody_can_read_it(window: Browser, width: int, scheme: str) -> None:
    """No scrolling sideways, nothing cut off, overlapping, small or pale, whatever the names are; nothing is blocked."""
    window.page.set_viewport_size({"width": width, "height": 800})
    window.page.emulate_media(color_scheme=scheme)  # type: ignore[arg-type]
    for name in STATUSES:
        window.open(f"/{name}.html")
        assert (name, window.page.evaluate(LOOK)) == (name, [])
    assert window.complaints == []


def test_the_reader_would_complain(window: Browser) -> None:
    """What is wrong is noticed: the test above is good for something."""
    window.page.set_viewport_size({"width": 360, "height": 800})
    window.page.emulate_media(color_scheme="light")
    window.open("/fine.html")
    window.page.evaluate("""() => {
      const e = document.querySelector('h2'); e.textContent = 'W'.repeat(99); e.style.whiteSpace = 'nowrap'; e.style.color = '#eee';
      document.querySelector('section .quiet').style.marginTop = '-20px';
    }""")
    found = " ".join(window.page.evaluate(LOOK))
    assert [word for word in ("scrolls", "cut off", "overlap", "contrast") if word not in found] == [], found


def shapes(window: Browser, status: Status) -> dict[str, str]:
    """Return what is drawn for each state in the calendar's legend, without its colour."""
    assert status.plans
    drawn = window.page.eval_on_selector_all(
        ".legend li", "all => all.map(e => [e.textContent.trim(), e.querySelector('svg').innerHTML])"
    )
    return dict(drawn)


def test_states_differ_without_colour(window: Browser) -> None:
    """A verdict is told by its mark too, and every day says in words what it is."""
    window.open("/fine.html")
    marks = shapes(window, STATUSES["fine"])
    assert set(marks) == {state.value for state in DayState}
    drawn = [mark.partition("<path")[2] for mark in marks.values()]
    assert len(set(drawn)) == len(drawn) - 1, "a day without a backup, and one that was not drilled, have no mark"
    titles = window.page.eval_on_selector_all(".calendar title", "all => all.map(e => e.textContent)")
    assert "Fri 27 Nov 2026: missed" in titles
    assert "Thu 19 Nov 2026: FAILED" in titles
    assert len(titles) == len(STATUSES["fine"].plans[0].days)


def test_the_colour_is_in_the_tab(window: Browser) -> None:
    """Title and icon say it before the page is looked at."""
    for name in ("fine", "late"):
        window.open(f"/{name}.html")
        assert window.page.title() == STATUSES[name].judgement.sentence
    icons = {name: render(status).partition("fill='%23")[2][:6] for name, status in STATUSES.items()}
    assert icons["fine"] != icons["late"]
