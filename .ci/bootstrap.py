"""Make `.venv` on a machine that has Python and nothing else, and install the locked packages into it.

Debian ships Python without `ensurepip`, so `python3 -m venv` fails there unless another package is
installed. This script then makes the environment without pip and fetches pip's own wheel from the
package index, which is all that is missing. Standard library only: it runs before anything is installed.

Usage: python3 .ci/bootstrap.py [demo|dev]
"""

from __future__ import annotations

import configparser
import hashlib
import json
import os
import subprocess
import sys
import tempfile
import urllib.parse
import urllib.request
import venv
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
VENV = ROOT / ".venv"
PYTHON = VENV / "bin" / "python"
LOCKS = {"demo": "requirements.lock", "dev": "requirements-dev.lock"}
PIP_PROJECT = "pip"
PIP_MINIMUM = (23, 1)


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
        fetch_pip()
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
    index = package_index()
    request = urllib.request.Request(
        f"{index}/{PIP_PROJECT}/", headers={"Accept": "application/vnd.pypi.simple.v1+json"}
    )
    with urllib.request.urlopen(request, timeout=60) as answer:
        files = json.load(answer)["files"]
    wheel = max((f for f in files if usable(f)), key=lambda f: version_of(f["filename"]))
    url = urllib.parse.urljoin(f"{index}/{PIP_PROJECT}/", wheel["url"])
    with urllib.request.urlopen(url, timeout=60) as answer:
        content = answer.read()
    if hashlib.sha256(content).hexdigest() != wheel["hashes"]["sha256"]:
        sys.exit("ERROR: the downloaded pip does not match its checksum\nHINT: run make again")
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / wheel["filename"]
        path.write_bytes(content)
        subprocess.run([PYTHON, f"{path}/pip", "install", "--quiet", "--no-index", str(path)], check=True)


def usable(file: dict[str, object]) -> bool:
    """Take released wheels that are not withdrawn and are new enough."""
    name = str(file["filename"])
    return name.endswith("-py3-none-any.whl") and not file.get("yanked") and version_of(name) >= PIP_MINIMUM


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
