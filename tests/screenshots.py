"""Take the screenshots of the Prefect UI for the documentation: `make screenshots`."""

from __future__ import annotations

import tempfile
from contextlib import ExitStack
from pathlib import Path

from flows.demo.services import free_ports, running_storage
from tasks.engine.servers.programs import installed_clients
from tasks.engine.servers.sandbox import running_server
from tests.browser import Browser, opened
from tests.integration.test_ui import artifact_page, form_page
from tests.stage import played

IMAGES = Path(__file__).parents[1] / "docs" / "images"
SAMPLE_MB = 40


def take(browser: Browser, name: str) -> None:
    """Save what the window shows."""
    browser.page.wait_for_timeout(1500)  # until animations have finished
    browser.page.screenshot(path=IMAGES / f"{name}.png", animations="disabled")


def main() -> None:
    """Run everything once on our own servers, and take a screenshot of each page."""
    IMAGES.mkdir(exist_ok=True)
    client = [c for c in installed_clients() if c.has_server][-1]
    with ExitStack() as stack:
        server = stack.enter_context(running_server(client, port=free_ports(1)[0]))
        storage = stack.enter_context(running_storage())
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        with server.connect() as connection:
            connection.execute("CREATE DATABASE shop")
        site = stack.enter_context(played(storage, server.on("shop"), client, folder, SAMPLE_MB))
        browser = stack.enter_context(opened(site))
        browser.open("/runs", "PROVEN")
        browser.page.mouse.move(700, 700)
        browser.page.mouse.wheel(0, 600)
        take(browser, "runs")
        browser.open(artifact_page(site, "drill-default", "PROVEN"), "Every check")
        take(browser, "drill-report")
        browser.open(artifact_page(site, "backup-default", ""), "Restore it")
        take(browser, "backup-report")
        browser.open(artifact_page(site, "catalog-default", ""), "Backups of default")
        take(browser, "catalog")
        browser.open(form_page(site, "restore"), "DANGER")
        take(browser, "restore-form")


if __name__ == "__main__":
    main()
