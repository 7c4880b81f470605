"""Open the Prefect UI in a real Chromium and record what its pages complained about."""

from __future__ import annotations

import re
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

import httpx
import pytest
from playwright.sync_api import ConsoleMessage, Page, Request, Response, expect, sync_playwright

CHROMIUM = Path("/usr/bin/chromium")
_FLAGS = ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
          "--disable-component-update", "--disable-sync"]  # fmt: skip
_PATIENCE_MS = 15_000
# Prefect requests an icon for states it doesn't know yet, and browsers request a favicon it doesn't have.
_NO_ICONS = ("/ico/undefined.svg", "/favicon.ico")
# The UI's web app manifest is requested without credentials, whatever the server.
_MANIFEST = "/ico/site.webmanifest"
# Where Prefect's UI sends forms.
_FORMS = ("/create_flow_run", "/block_documents/")
# What a browser logs when the page's policy blocks an address.
_BLOCKED = re.compile(r"'(https?://[^']+)'.* Content Security Policy")


@dataclass(frozen=True)
class Site:
    """The UI's address, and its login if it has one."""

    address: str
    user: str = ""
    password: str = ""

    def ask(self, path: str, **filters: object) -> list[dict[str, object]]:
        """Query the API, to find the addresses of pages."""
        login = (self.user, self.password) if self.user else None
        answer = httpx.post(f"{self.address}/api/{path}/filter", json=filters, auth=login, timeout=30)
        answer.raise_for_status()
        return list(answer.json())


@dataclass
class Browser:
    """One browser window on a site, and everything that went wrong in it."""

    page: Page
    site: Site
    complaints: list[str] = field(default_factory=list)

    def open(self, path: str, *expected: str) -> str:
        """Open a page, wait until it shows the expected text, and return all of its text."""
        self.page.goto(self.site.address + path)
        for text in expected:
            expect(self.page.get_by_text(text).first).to_be_visible()
        return self.text()

    def choose(self, tab: str, *expected: str) -> str:
        """Choose a tab of a run's page."""
        self.page.get_by_text(tab, exact=True).first.click()
        # A long state message is truncated until it is expanded.
        if (more := self.page.get_by_text("See More", exact=True)).count():
            more.first.click()
        for text in expected:
            expect(self.page.get_by_text(text).first).to_be_visible()
        return self.text()

    def send(self, button: str) -> None:
        """Send a form with its button; once more if Prefect's database was locked, which is answered with 503."""
        with self.page.expect_response(lambda answer: urlsplit(answer.url).path.endswith(_FORMS)) as found:
            self.page.get_by_role("button", name=button).click()
        if found.value.status == 503:
            found.value.finished()
            self.page.wait_for_timeout(500)  # the page reports it first
            self.complaints.clear()
            self.page.get_by_role("button", name=button).click()

    def text(self) -> str:
        """Return the visible text of the page."""
        return self.page.inner_text("body")

    def heard(self, message: ConsoleMessage) -> None:
        """Record an error on the page's console; requests to other hosts that the policy blocked don't count."""
        if message.type != "error" or self._excused(message.location["url"]) or _MANIFEST in message.text:
            return
        asked = _BLOCKED.search(message.text)
        if not asked or not self._excused(asked[1]):
            self.complaints.append(message.text)

    def answered(self, response: Response) -> None:
        """Record an error response."""
        if response.status >= 400 and not self._excused(response.url):
            self.complaints.append(f"{response.status} {response.url}")

    def failed(self, request: Request) -> None:
        """Record a request without a response; one aborted because we left the page doesn't count."""
        if request.failure != "net::ERR_ABORTED" and not self._excused(request.url):
            self.complaints.append(f"{request.failure} {request.url}")

    def _excused(self, url: str) -> bool:
        """Excuse logos of third-party blocks, which live on third-party servers, and icons known to be missing."""
        elsewhere = urlsplit(url).netloc != urlsplit(self.site.address).netloc
        return elsewhere or urlsplit(url).path in (*_NO_ICONS, _MANIFEST)


@contextmanager
def opened(site: Site) -> Iterator[Browser]:
    """Open a browser with an empty profile, and close it afterwards."""
    if not CHROMIUM.exists():
        pytest.fail(f"{CHROMIUM} is not installed; `make setup-dev` installs it")
    login = {"http_credentials": {"username": site.user, "password": site.password}} if site.user else {}
    with sync_playwright() as playwright, tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as profile:
        context = playwright.chromium.launch_persistent_context(
            profile, executable_path=CHROMIUM, headless=True, args=_FLAGS, timezone_id="UTC",
            viewport={"width": 1280, "height": 800}, **login,  # type: ignore[arg-type]
        )  # fmt: skip
        expect.set_options(timeout=_PATIENCE_MS)
        context.set_default_timeout(_PATIENCE_MS)
        browser = Browser(context.pages[0], site)
        for event, listener in (
            ("console", browser.heard),
            ("response", browser.answered),
            ("requestfailed", browser.failed),
        ):
            browser.page.on(event, listener)  # type: ignore[call-overload]
        browser.page.on("pageerror", lambda error: browser.complaints.append(str(error)))
        yield browser
        context.close()
