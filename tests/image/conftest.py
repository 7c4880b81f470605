"""Build the image and start the compose file once; every test looks at the same running system."""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from flows.demo.services import free_ports
from tests.image.engine import Engine, System, running_engine
from tests.image.images import ROOT, Images, make_images

UI_PASSWORD = "only for this test"
# The documented promise is two minutes; a busy machine takes longer.
PROVEN_TIMEOUT_S = 360
# Large enough to be interrupted in the middle of a dump.
SAMPLE = """
CREATE TABLE customers (id int PRIMARY KEY, name text NOT NULL);
INSERT INTO customers SELECT i, 'Zoë ' || i FROM generate_series(1, 1000) i;
CREATE TABLE events (id int PRIMARY KEY, customer int REFERENCES customers, token text);
INSERT INTO events SELECT i, i % 1000 + 1, md5(i::text) || md5((i + 1)::text) || md5((i + 2)::text) FROM generate_series(1, 1000000) i;
"""


@pytest.fixture(scope="session")
def engine() -> Iterator[Engine]:
    with running_engine() as engine:
        yield engine


@pytest.fixture(scope="session")
def images(engine: Engine) -> Images:
    return make_images(engine)


@pytest.fixture(scope="session")
def port() -> int:
    return free_ports(1)[0]


@pytest.fixture(scope="session")
def system(engine: Engine, images: Images, port: int) -> Iterator[System]:
    """The unmodified compose file, over a database with content, once its first backup is PROVEN."""
    environ = {
        "IMAGE": images.service, "POSTGRES_IMAGE": images.postgres, "S3_IMAGE": images.s3, "PORT": str(port),
        "VERIFY_PORT": str(free_ports(1)[0]), "UI_PASSWORD": UI_PASSWORD, "METRICS_ENABLED": "true",
        "BACKUP_INTERVAL": "120", "COMPRESSION_LEVEL": "9",
    }  # fmt: skip
    files = (ROOT / "docker-compose.yml", Path(__file__).parent / "limits.yml")
    system = System(engine, files, f"image-test-{secrets.token_hex(3)}", environ)
    try:
        system.run("up", "-d", "postgres")
        until(lambda: system.state("postgres", ".State.Health.Status") == "healthy", "a healthy database", 120)
        system.run("exec", "-T", "postgres", "psql", "-q", "-v", "ON_ERROR_STOP=1", "-c", SAMPLE)
        began = time.monotonic()
        system.run("up", "-d", "--no-build")
        wait_for_line(system, "backup", "PROVEN", PROVEN_TIMEOUT_S)
        print(f"PROVEN {time.monotonic() - began:.0f} s after `up`")
        yield system
    finally:
        print("\n".join(system.run("logs", "--no-color", check=False).splitlines()[-200:]))
        system.run("--profile", "verify", "down", "-v", "--remove-orphans", check=False)


def until(true: Callable[[], bool], what: str, timeout_s: float) -> None:
    """Wait until something becomes true."""
    deadline = time.monotonic() + timeout_s
    while not true():
        assert time.monotonic() < deadline, f"no {what} within {timeout_s} seconds"
        time.sleep(0.5)


def wait_for_line(system: System, service: str, words: str, timeout_s: float, *, since: str = "") -> None:
    """Wait until a service logs a line with these words; fail at once when its container exits."""

    def written() -> bool:
        lines = system.log(service, since=since)
        assert system.state(service, ".State.Running") == "true", "\n".join(lines[-30:])
        return any(words in line for line in lines)

    until(written, f"line with {words!r}", timeout_s)
