"""Drive a Docker engine and its compose command: the one running here, or one started for the tests."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

_START_TIMEOUT_S = 60
_BUILD_TIMEOUT_S = 1800
# Images take minutes to build; an engine started for the tests finds them again next time.
_OWN_STATE = Path(__file__).parents[2] / ".image-test"


@dataclass(frozen=True)
class Engine:
    """A running Docker engine."""

    environ: Mapping[str, str] = field(default_factory=dict)

    def run(self, *arguments: str, timeout_s: float = 120, check: bool = True) -> str:
        """Run `docker …`; return its output including stderr, and fail the test when it fails."""
        return _run(["docker", *arguments], self.environ, timeout_s, check=check)

    def has_image(self, name: str) -> bool:
        """Return whether an image exists locally or can be pulled."""
        if self.run("images", "-q", name).strip():
            return True
        try:
            self.run("pull", "-q", name, timeout_s=300)
        except (AssertionError, subprocess.TimeoutExpired):
            return False
        return True

    def build(self, folder: Path, tag: str, **arguments: str) -> str:
        """Build an image; return its name."""
        flags = [part for name, value in arguments.items() for part in ("--build-arg", f"{name}={value}")]
        self.run("build", "-t", tag, *flags, str(folder), timeout_s=_BUILD_TIMEOUT_S)
        return tag


@dataclass(frozen=True)
class System:
    """One project of the compose file, with an environment of its own."""

    engine: Engine
    files: tuple[Path, ...]
    project: str
    environ: Mapping[str, str]

    def run(self, *arguments: str, timeout_s: float = 300, check: bool = True) -> str:
        """Run `docker compose …` for this project."""
        files = [part for path in self.files for part in ("-f", str(path))]
        command = [*_compose_command(self.engine.environ), "-p", self.project, *files, *arguments]
        return _run(command, {**self.engine.environ, **self.environ}, timeout_s, check=check)

    def container(self, service: str) -> str:
        """Return the id of a service's container, running or not."""
        names = f"label=com.docker.compose.project={self.project}", f"label=com.docker.compose.service={service}"
        once = "label=com.docker.compose.oneoff=False"
        found = self.engine.run("ps", "-aq", *(part for name in (*names, once) for part in ("--filter", name))).split()
        assert len(found) == 1, f"{len(found)} containers of the service {service}"
        return found[0]

    def state(self, service: str, wanted: str) -> str:
        """Return a field of the container's state, as `docker inspect` names it."""
        return self.engine.run("inspect", "-f", "{{" + wanted + "}}", self.container(service)).strip()

    def log(self, service: str, *, since: str = "") -> list[str]:
        """Return the log lines of a service."""
        return self.engine.run("logs", *(["--since", since] if since else []), self.container(service)).splitlines()

    def execute(self, service: str, *command: str, check: bool = True) -> str:
        """Run a command in a service's container."""
        return self.engine.run("exec", self.container(service), *command, check=check)


@contextmanager
def running_engine() -> Iterator[Engine]:
    """Return the engine running here, else start one while the context lasts; fail loudly where neither is possible."""
    assert shutil.which("docker"), _missing("the program `docker`")
    assert _compose_command({}), _missing("`docker compose` or `docker-compose`")
    if _answers({}):
        yield Engine()
        return
    assert shutil.which("dockerd"), _missing("a Docker engine that answers")
    assert os.geteuid() == 0, _missing("a Docker engine that answers, or root to start one")
    with _own_engine() as environ:
        yield Engine(environ)


@contextmanager
def _own_engine() -> Iterator[dict[str, str]]:
    with tempfile.TemporaryDirectory(prefix="image-test-") as folder, Path(folder, "log").open("w+") as log:
        _OWN_STATE.mkdir(exist_ok=True)
        address = f"unix://{folder}/docker.sock"
        command = ["dockerd", "--data-root", str(_OWN_STATE / "engine"), "--exec-root", f"{folder}/exec",
                   "--pidfile", f"{folder}/pid", "-H", address]  # fmt: skip
        with subprocess.Popen(command, stdout=log, stderr=subprocess.STDOUT) as daemon:
            try:
                deadline = time.monotonic() + _START_TIMEOUT_S
                while not _answers({"DOCKER_HOST": address}):
                    ended = daemon.poll() is not None or time.monotonic() > deadline
                    assert not ended, _missing(f"a Docker engine that starts; dockerd said: {_tail(log.name)}")
                    time.sleep(0.5)
                yield {"DOCKER_HOST": address}
            finally:
                daemon.terminate()


def _tail(path: str) -> str:
    return "\n".join(Path(path).read_text().splitlines()[-5:])


def _answers(environ: Mapping[str, str]) -> bool:
    command = ["docker", "version", "-f", "{{.Server.Version}}"]
    return subprocess.run(command, env={**os.environ, **environ}, capture_output=True, check=False).returncode == 0


def _compose_command(environ: Mapping[str, str]) -> list[str]:
    plugin = subprocess.run(
        ["docker", "compose", "version"], env={**os.environ, **environ}, capture_output=True, check=False
    )
    if plugin.returncode == 0:
        return ["docker", "compose"]
    return ["docker-compose"] if shutil.which("docker-compose") else []


def _missing(what: str) -> str:
    return f"""

    THE IMAGE WAS NOT TESTED. Missing: {what}.
    HINT: on Debian, as root: apt-get install docker.io docker-compose debootstrap
    """


def _run(command: list[str], environ: Mapping[str, str], timeout_s: float, *, check: bool) -> str:
    done = subprocess.run(
        command, env={**os.environ, **environ}, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        text=True, timeout=timeout_s, check=False,
    )  # fmt: skip
    assert done.returncode == 0 or not check, f"{' '.join(command)}\n{done.stdout[-4000:]}"
    return done.stdout
