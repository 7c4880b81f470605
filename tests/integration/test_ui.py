"""The Prefect UI over real runs, in a real browser: it shows what happened, and offers the forms to do more."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest
from playwright.sync_api import expect

from blocks.sql.server import Server
from flows.demo.services import Storage
from tasks.engine.servers.programs import Client
from tests.browser import Browser, Site, opened
from tests.stage import played

SAMPLE_MB = 3


@pytest.fixture(scope="module")
def site(
    tmp_path_factory: pytest.TempPathFactory,
    server_of: Callable[[int], Server],
    storage_server: Storage,
    clients: dict[int, Client],
) -> Iterator[Site]:
    """A service, with its login, that has executed every kind of run."""
    server = server_of(16)
    with server.connect() as connection:
        connection.execute("CREATE DATABASE shop")
    folder = tmp_path_factory.mktemp("ui")
    with played(storage_server, server.on("shop"), clients[16], folder, SAMPLE_MB) as found:
        yield found
    with server.connect() as connection:
        for name in ("shop", "shop_copy"):
            connection.execute("DROP DATABASE {} WITH (FORCE)", name)


@pytest.fixture(scope="module")
def window(site: Site) -> Iterator[Browser]:
    """One browser for all tests: starting one takes longer than a page."""
    with opened(site) as browser:
        yield browser


@pytest.fixture
def browser(window: Browser) -> Iterator[Browser]:
    """The browser; a test fails when a page logged an error or showed a secret."""
    window.complaints.clear()
    yield window
    assert not window.complaints, "\n".join(window.complaints)


def run_page(site: Site, flow: str, state: str) -> str:
    """Return the path of a flow's newest top-level run that ended in a state."""
    flows = {flow["id"]: flow["name"] for flow in site.ask("flows")}
    for run in site.ask("flow_runs", sort="START_TIME_DESC"):
        if (flows[run["flow_id"]], run["state_name"], run["parent_task_run_id"]) == (flow, state, None):
            return f"/runs/flow-run/{run['id']}"
    pytest.fail(f"no run of {flow} ended {state}")


def form_page(site: Site, flow: str) -> str:
    """Return the path of the form that runs a deployment."""
    entrypoint = f".{flow.replace('-', '_')}"
    return next(
        f"/deployments/deployment/{d['id']}/run"
        for d in site.ask("deployments")
        if str(d["entrypoint"]).endswith(entrypoint)
    )


def artifact_page(site: Site, key: str, description: str) -> str:
    """Return the path of the newest artifact with a key whose description contains a text."""
    found = site.ask("artifacts", sort="CREATED_DESC", artifacts={"key": {"any_": [key]}})
    return next(f"/artifacts/artifact/{a['id']}" for a in found if description in str(a["description"]))


def test_the_history_reads_at_a_glance(browser: Browser) -> None:
    """Names say what ran, of which plan and when; drill verdicts are run states."""
    shown = browser.open("/runs", "PROVEN", "INCONCLUSIVE", "FAILED", "Completed", "Failed")
    for flow in ("backup", "prune", "restore", "restore-drill"):
        expect(browser.page.get_by_text(f"{flow}-default-20").first).to_be_attached()
    assert "secret" not in shown


@pytest.mark.parametrize(("flow", "state", "sentences"), [
    ("backup", "Completed", ["rows of 7 tables", "0 old ones removed"]),
    ("backup", "Failed", ["Cannot connect to database [127.0.0.1:", "HINT: check that the server runs"]),
    ("restore-drill", "PROVEN", ["dumped again, and is what was dumped", "rows of 7 tables"]),
    ("restore-drill", "FAILED", ["is not what it should be: Restore failed"]),
    ("restore-drill", "INCONCLUSIVE", ["says nothing about it: Cannot connect to database"]),
    ("restore", "Completed", ["rows of 7 tables restored to 127.0.0.1:"]),
    ("prune", "Completed", ["Would remove 0 of"]),
])  # fmt: skip
def test_an_end_explains_itself(browser: Browser, site: Site, flow: str, state: str, sentences: list[str]) -> None:
    """A run's page says what it made, or what went wrong and what to do, without Prefect's wording about exceptions."""
    browser.open(run_page(site, flow, state), state)
    shown = browser.choose("Details", *sentences)
    assert "encountered an exception" not in shown
    assert "someone" not in shown


def test_the_status_page_comes_first(browser: Browser) -> None:
    """The bare address shows the answer, from real backups and drills, and a link leads to the history and back."""
    shown = browser.open("/", "Day by day")
    assert browser.page.url.endswith("/status")
    assert shown.startswith("Fine: last backup ")
    for text in ("PROVEN", "Over time", "Restore time", "Retention removes next", "pg-roundtrip restore backup_"):
        expect(browser.page.get_by_text(text).first).to_be_visible()
    browser.page.get_by_text("History (Prefect)").click()
    expect(browser.page.get_by_text("Dashboard").first).to_be_visible()


def test_a_dump_shows_its_progress(browser: Browser, site: Site) -> None:
    """Progress shows how much was read and stored, how fast, and when it is done."""
    browser.open("/artifacts/key/dump-progress", "dump-progress", "of SQL read")
    found = site.ask("artifacts", artifacts={"type": {"any_": ["progress"]}})
    said = [(float(str(a["data"])), str(a["description"])) for a in found]
    assert any(percent == 100 and "/s), " in text and " stored (" in text for percent, text in said)
    assert any(percent == 100 and "restored in" in text for percent, text in said)
    assert any(percent < 100 and "given up" in text for percent, text in said)


def test_the_list_of_artifacts(browser: Browser) -> None:
    """Each kind of report appears once, with a one-line summary of the newest."""
    shown = browser.open("/artifacts", "backup-default", "catalog-default", "drill-default", "prune-default")
    assert "6 Artifacts" in shown
    assert "dump-progress" in shown
    assert "PROVEN: backup_" in shown


def test_the_report_of_a_backup(browser: Browser, site: Site) -> None:
    """A backup's report shows its contents, a comparison, how to restore by hand, and no secret."""
    shown = browser.open(artifact_page(site, "backup-default", ""), "Restore it", "public.articles")
    for text in (
        "this backup",
        "change",
        "aws s3 cp",
        '--to "$TARGET_URL"',
        "public.articles",
        "SHA-256",
        "PostgreSQL 16",
    ):
        assert text in shown
    for text in ("|---", "**", "&#", "undefined", "postgresql://"):
        assert text not in shown


def test_the_catalog(browser: Browser, site: Site) -> None:
    """The catalog lists all backups with size, trend and verdict, marks foreign ones, and omits the removed one."""
    shown = browser.open(artifact_page(site, "catalog-default", ""), "Backups of default")
    for text in ("✅ PROVEN", "❌ FAILED", "not drilled", "foreign", "↗ +", "8 backups"):
        assert text in shown


@pytest.mark.parametrize(("verdict", "expected"), [
    ("PROVEN", ["Restore time (RTO)", "every row came back as it was stored", "row digests", "outside of rows and statements"]),
    ("FAILED", ["Findings", "gzip", "the drill ended before", "not restored"]),
    ("INCONCLUSIVE", ["it says nothing about the backup", "not restored"]),
])  # fmt: skip
def test_the_report_of_a_drill(browser: Browser, site: Site, verdict: str, expected: list[str]) -> None:
    """A drill's report shows verdict, coverage and timings before the individual checks."""
    shown = browser.open(artifact_page(site, "drill-default", verdict), "Every check")
    for text in (f"{verdict}: backup_", *expected):
        assert text in shown


def test_the_table_of_a_prune(browser: Browser, site: Site) -> None:
    """A prune's table lists every backup with the decision and the reason."""
    shown = browser.open(artifact_page(site, "prune-default", "Removed 1 of"), "30 days old, limit 7")
    assert "the newest backup" in shown


def test_a_form_helps_and_warns(browser: Browser, site: Site) -> None:
    """Every parameter has a description; destructive ones say so."""
    shown = browser.open(form_page(site, "restore"), "Which backup", "Whose backup", "Where to", "DANGER: everything")
    assert "or latest for the newest" in shown


def test_a_form_refuses_what_is_no_name(browser: Browser, site: Site) -> None:
    """An invalid backup name is refused before anything is scheduled."""
    browser.open(form_page(site, "restore-drill"), "Which backup")
    before = len(site.ask("flow_runs"))
    box = browser.page.locator("textarea").nth(1)
    box.fill("backup_of_yesterday; DROP")
    browser.page.get_by_role("button", name="Submit").click()
    expect(browser.page.get_by_text("does not match").first).to_be_visible()
    assert len(site.ask("flow_runs")) == before
    browser.complaints.clear()  # the refusal was expected
    box.fill("latest")
    browser.send("Submit")
    browser.page.wait_for_url("**/deployments/deployment/*?tab=Runs")
    run = next(r for r in site.ask("flow_runs", sort="EXPECTED_START_TIME_DESC") if not r["auto_scheduled"])
    assert run["parameters"] == {"plan": "default", "backup": "latest"}


def test_an_untouched_form_is_fine(browser: Browser, site: Site) -> None:
    """Submitting the form unchanged uses the plan's own settings."""
    browser.open(form_page(site, "restore-drill"), "Which backup")
    browser.send("Submit")
    browser.page.wait_for_url("**/deployments/deployment/*?tab=Runs")


def test_the_forms_of_blocks(browser: Browser) -> None:
    """Plans, storages and servers can be edited by hand: every field has a description."""
    shown = browser.open("/blocks/catalog/pg-roundtrip-plan/create", "Backup Plan", "Retention (days)")
    for text in (
        "The database to back up",
        "1 is fastest, 9 is smallest",
        "Backup interval (seconds)",
        "For the cron expressions",
    ):
        assert text in shown
    browser.open("/blocks/catalog/pg-roundtrip-storage/create", "Backup Storage")
    browser.open("/blocks/catalog/pg-roundtrip-postgres/create", "special characters written as %XX")
    browser.page.locator("input").first.fill("orders")
    url = browser.page.locator("input[type=password], textarea").last
    url.fill("postgresql://someone:masked-secret@db/orders")
    browser.send("Create")
    browser.page.wait_for_url("**/blocks/block/**")
    expect(browser.page.get_by_text("orders").first).to_be_visible()
    assert "masked-secret" not in browser.page.content()
