"""Make `.venv` on a machine that has Python and nothing else, and install the locked packages into it.

Debian ships Python without `ensurepip`, so `python3 -m venv` fails there unless another package is
installed. This script then makes the environment without pip and fetches pip's own wheel from the
package index, which is all that is missing. Standard library only: it runs before anything is installed.

Usage: python3 .ci/bootstrap.py [demo|dev]
"""

from __future__ import annotations

import configparser
import hashlib
import os
import subprocess
import sys
import tempfile
import urllib.parse
import urllib.request
import venv
from html.parser import HTMLParser
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
VENV = ROOT / ".venv"
PYTHON = VENV / "bin" / "python"
LOCKS = {"demo": "requirements.lock", "dev": "requirements-dev.lock"}


def main() -> None:
    """Bring the environment to what the lock says; do nothing when it is there already."""
    if sys.version_info < (3, 11):
        sys.exit("ERROR: Python 3.11 or newer is needed\nHINT: set PYTHON=/path/to/python3.11 and run make again")
    group = sys.argv[1] if len(sys.argv) > 1 else "demo"
    lock = ROOT / LOCKS[group]
    stamp = VENV / f".installed-{group}"
    wanted = hashlib.sha256(lock.read_bytes() + (ROOT / "pyproject.toml").read_bytes()).hexdigest()
    if stamp.is_file() and stamp.read_text() == wanted and (VENV / "bin" / "pg-roundtrip").is_file():
        return
    if not PYTHON.exists() or not has_pip():
        make_environment()
    print(f"Installing the locked packages into {VENV.name} (about a minute) …", flush=True)
    # The lock is complete, so nothing is resolved here: what is installed is what was tested.
    pip("install", "--no-deps", "--require-hashes", "-r", str(lock))
    # The lock has the build tools too, so the build needs nothing newer from outside.
    pip("install", "--no-deps", "--no-build-isolation", "-e", str(ROOT))
    stamp.write_text(wanted)


def make_environment() -> None:
    """Create `.venv`, with pip from ensurepip where there is one, and from the index where there is none."""
    print(f"Making {VENV.name} …", flush=True)
    try:
        import ensurepip  # noqa: F401
    except ImportError:
        venv.create(VENV, with_pip=False, clear=True, symlinks=True)
        try:
            fetch_pip()
        except OSError as error:
            sys.exit(f"ERROR: pip could not be fetched [{error}]\nHINT: apt-get install python3-venv ca-certificates")
        return
    venv.create(VENV, with_pip=True, clear=True, symlinks=True)


def has_pip() -> bool:
    """Say whether the environment's pip runs; a half-made one is made again."""
    return subprocess.run([PYTHON, "-m", "pip", "--version"], capture_output=True, check=False).returncode == 0


def pip(*arguments: str) -> None:
    """Run the environment's pip quietly, and stop with its own words when it fails."""
    command = [str(PYTHON), "-m", "pip", "-qq", "--disable-pip-version-check", *arguments]
    if subprocess.run(command, check=False).returncode:
        sys.exit("ERROR: the packages could not be installed\nHINT: pip's message above says which; run make again")


def fetch_pip() -> None:
    """Install pip from its wheel: a wheel is a zip file that Python can run from."""
    page = f"{package_index()}/pip/"
    with urllib.request.urlopen(page, timeout=60) as answer:
        links = Links(answer.read().decode())
    address = max(links.wheels, key=lambda url: version_of(filename_of(url)))
    place, _, checksum = urllib.parse.urljoin(page, address).partition("#sha256=")
    with urllib.request.urlopen(place, timeout=60) as answer:
        content = answer.read()
    if hashlib.sha256(content).hexdigest() != checksum:
        sys.exit("ERROR: the downloaded pip does not match its checksum\nHINT: run make again")
    with tempfile.TemporaryDirectory() as folder:
        wheel = Path(folder) / filename_of(place)
        wheel.write_bytes(content)
        subprocess.run([PYTHON, f"{wheel}/pip", "-qq", "install", "--no-index", str(wheel)], check=True)


class Links(HTMLParser):
    """Collect the wheels that a page of the simple repository API links to, withdrawn ones left out.

    The page's form is that of https://packaging.python.org/en/latest/specifications/simple-repository-api/
    """

    def __init__(self, page: str) -> None:
        super().__init__()
        self.wheels: list[str] = []
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Look at one tag; the parser calls this."""
        given = dict(attrs)
        url = given.get("href") or ""
        if tag == "a" and "data-yanked" not in given and filename_of(url).endswith("-py3-none-any.whl"):
            self.wheels.append(url)


def filename_of(url: str) -> str:
    """The last part of an address, without its checksum."""
    return url.partition("#")[0].rpartition("/")[2]


def version_of(filename: str) -> tuple[int, ...]:
    """Read the version from a wheel's name; a pre-release sorts as too old."""
    parts = filename.split("-")[1].split(".")
    return tuple(int(p) for p in parts) if all(p.isdigit() for p in parts) else (0,)


def package_index() -> str:
    """Use the index that pip is set up to use: the environment, then pip's files, then PyPI."""
    chosen = os.environ.get("PIP_INDEX_URL")
    files = [os.environ.get("PIP_CONFIG_FILE"), Path.home() / ".config/pip/pip.conf", "/etc/pip.conf"]
    parser = configparser.RawConfigParser()
    parser.read([f for f in files if f])
    configured = parser.get("global", "index-url", fallback=None) if parser.has_section("global") else None
    return (chosen or configured or "https://pypi.org/simple").rstrip("/")


if __name__ == "__main__":
    main()
