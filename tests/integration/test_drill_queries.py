"""Queries on the restored database become part of the drill: checks in the report, a verdict, an exit status."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from blocks.errors import ConfigurationError
from blocks.s3.client import ObjectStore
from blocks.sql.server import Server
from flows.restore_drill import restore_drill
from tasks.engine.repository.repository import Repository
from tasks.engine.servers.programs import Client
from tests.conftest import Ended, FlowRun, NewDatabase
from tests.integration.objects import LIBRARY, NAME, take_backup
from tests.integration.sandboxes import assert_nothing_is_left, results, row

MET = """
-- name: books have authors
-- expect: = 300
SELECT count(*) FROM books JOIN authors ON author = authors.id;

-- expect: not empty
SELECT 1 FROM titles;
SELECT count(*) FROM authors;
"""
NOT_MET = "-- name: enough books\n-- expect: > 1000\nSELECT count(*) FROM books;\n"
ERRING = "-- name: misspelt\n-- expect: > 0\nSELECT count(*) FROM bookz;\n"
WRITING = "DELETE FROM books;\n-- expect: lots\nSELECT 1;\nSELECT 'not closed;\n"


@pytest.fixture(autouse=True)
def library(new_database: NewDatabase, storage: ObjectStore, clients: dict[int, Client], home: Path) -> Server:
    """A database on PostgreSQL 15, and a backup of it, which is drilled in a sandbox."""
    source = new_database(15, LIBRARY)
    take_backup(storage, source, clients[15])
    return source


@pytest.fixture
def file_of(tmp_path: Path) -> Callable[[str], str]:
    """A function that writes a query file and returns its name."""

    def write(text: str) -> str:
        path = tmp_path / "queries.sql"
        path.write_text(text)
        return str(path)

    return write


@pytest.mark.parametrize("target", ["sandbox", "database"])
def test_answers_that_are_expected_prove_a_backup(
    target: str, library: Server, flow_run: FlowRun, file_of: Callable[[str], str], storage: ObjectStore
) -> None:
    """Every query has a check with expected and actual result, also in the report beside the backup."""
    ran = flow_run(restore_drill, library, environ={"VERIFY_QUERIES_FILE": file_of(MET), "VERIFY_TARGET": target})
    assert (ran.state, ran.result.place) == ("PROVEN", target)
    rows = [(c.name, c.result, c.evidence) for c in ran.result.checks[-3:]]
    assert rows == [
        ("query: books have authors", "passed", "expected = 300, got 300"),
        ("query: SELECT 1 FROM titles", "passed", "expected not empty, got 300 rows"),
        ("query: SELECT count(*) FROM authors", "passed", "no expectation, got 20"),
    ]
    assert Repository(storage).report_even_unlisted(NAME) == ran.result


def test_queries_beside_the_working_directory(
    flow_run: FlowRun, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`test-queries.sql` in the working directory is used by default; any other file must be named."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "other.sql").write_text(WRITING)
    ran = flow_run(restore_drill, environ={"VERIFY_TARGET": "sandbox"})
    assert not [name for name in results(ran.result) if "books" in name]
    (tmp_path / "test-queries.sql").write_text(MET)
    ran = flow_run(restore_drill, environ={"VERIFY_TARGET": "sandbox"})
    assert (ran.state, results(ran.result)["query: books have authors"]) == ("PROVEN", "passed")


def test_an_answer_that_is_not_expected_fails(
    command_line: Callable[..., Ended], file_of: Callable[[str], str], home: Path
) -> None:
    """The command exits with 1; the remaining queries still run."""
    queries = file_of(NOT_MET + MET)
    done = command_line("drill", "--json", VERIFY_QUERIES_FILE=queries, VERIFY_TARGET="sandbox", TMPDIR=str(home))
    said = json.loads(done.out)
    assert (done.status, said["verdict"]) == (1, "FAILED"), done.err
    assert said["cause"] == "query: enough books: expected > 1000, got 300"
    assert f"ERROR: Verification failed [{said['cause']}]" in done.err
    assert "HINT: the backup matches what was dumped" in done.err
    found = {check["name"]: check["result"] for check in said["checks"]}
    assert [found[name] for name in ("query: enough books", "query: books have authors")] == ["failed", "passed"]
    assert_nothing_is_left(home)


@pytest.mark.parametrize(("strict", "status", "verdict"), [("", 0, "PROVEN"), ("true", 1, "FAILED")])
def test_a_query_that_cannot_be_run(
    strict: str,
    status: int,
    verdict: str,
    command_line: Callable[..., Ended],
    file_of: Callable[[str], str],
    home: Path,
) -> None:
    """A failing query is warned about in the log, and fails the backup only when configured to."""
    environ = {"VERIFY_QUERIES_FILE": file_of(ERRING), "VERIFY_STRICT": strict, "VERIFY_TARGET": "sandbox"}
    done = command_line("drill", TMPDIR=str(home), **environ)
    assert (done.status, done.out.splitlines()[0]) == (status, f"{verdict}: {NAME}"), done.err
    warnings = [line.partition(" ")[2] for line in done.err.splitlines() if "Query failed" in line]
    assert warnings == ["WARNING: Query failed: SELECT count(*) FROM bookz"]
    lines = [line for line in done.out.splitlines() if "query: misspelt" in line]
    assert 'relation "bookz" does not exist' in lines[-1]
    assert "Traceback" not in done.err


def test_a_strict_drill_says_what_the_server_said(flow_run: FlowRun, file_of: Callable[[str], str]) -> None:
    """The check of the query that failed the drill has the server's error, and no address of a server that is gone."""
    environ = {"VERIFY_QUERIES_FILE": file_of(ERRING), "VERIFY_STRICT": "true", "VERIFY_TARGET": "sandbox"}
    report = flow_run(restore_drill, environ=environ).result
    assert (report.verdict, row(report, "query: misspelt").result) == ("FAILED", "failed")
    assert row(report, "query: misspelt").evidence == 'relation "bookz" does not exist'


def test_a_query_that_takes_too_long_is_stopped(flow_run: FlowRun, file_of: Callable[[str], str]) -> None:
    """VERIFY_QUERY_TIMEOUT limits each query; the next one runs as usual."""
    queries = file_of("-- name: slow\nSELECT pg_sleep(600);\n" + MET)
    environ = {"VERIFY_QUERIES_FILE": queries, "VERIFY_QUERY_TIMEOUT": "1", "VERIFY_TARGET": "sandbox"}
    report = flow_run(restore_drill, environ=environ).result
    assert (report.verdict, results(report)["query: slow"]) == ("PROVEN", "warning")
    assert "statement timeout" in row(report, "query: slow").evidence
    assert results(report)["query: books have authors"] == "passed"


def test_queries_that_may_not_be_asked_are_refused_first(
    command_line: Callable[..., Ended], file_of: Callable[[str], str], storage: ObjectStore, home: Path
) -> None:
    """Every problem in the file is reported at once, with exit status 2, before anything is downloaded or restored."""
    environ = {"VERIFY_QUERIES_FILE": file_of(WRITING), "VERIFY_TARGET": "sandbox"}
    done = command_line("drill", "--json", TMPDIR=str(home), **environ)
    assert (done.status, done.out) == (2, "")
    for words in ("it begins with DELETE", "An expectation cannot be read", "a quote or comment in it is not closed"):
        assert done.err.count(words) == 1, done.err
    assert done.err.count("HINT: ") == 3
    assert "Restoring" not in done.err
    assert "Traceback" not in done.err
    assert Repository(storage).reports_of(NAME) == ()
    assert_nothing_is_left(home)


@pytest.mark.parametrize("name", ["", "missing.sql", "folder"])
def test_a_file_that_cannot_be_read_is_a_fault_of_the_configuration(
    name: str, flow_run: FlowRun, tmp_path: Path
) -> None:
    """A configured file must exist and be a regular file."""
    (tmp_path / "folder").mkdir()
    ran = flow_run(restore_drill, environ={"VERIFY_QUERIES_FILE": str(tmp_path / name)})
    assert isinstance(ran.error, ConfigurationError)
    assert ran.error.exit_status == 2
    assert ran.error.sentence.startswith("The file of VERIFY_QUERIES_FILE cannot be used [")
    assert str(tmp_path) in ran.error.sentence
