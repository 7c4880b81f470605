"""Make an environment on a machine that has Python and nothing else, and install locked packages into it.

uv does that, of the version that the lock has. Its wheel is fetched from the package index that pip is set up to use;
Debian's Python has neither pip nor `ensurepip`. Standard library only: this runs before anything is installed.

Usage: python3 .ci/bootstrap.py FOLDER [WHAT…], where WHAT is for `uv pip install`
"""

from __future__ import annotations

import base64
import configparser
import hashlib
import html
import io
import os
import platform
import re
import subprocess
import sys
import urllib.parse
import urllib.request
import venv
import zipfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
LOCK = ROOT / "requirements.lock"
UV = ROOT / ".venv" / "bin" / "uv"


def main() -> None:
    """Make the environment where there is none, and install what is wanted as the lock has it."""
    if sys.version_info < (3, 11):
        sys.exit("ERROR: Python 3.11 or newer is needed\nHINT: set PYTHON=/path/to/python3.11 and run make again")
    folder, *what = sys.argv[1:]
    python = Path(folder) / "bin" / "python"
    if not python.exists():
        print(f"Making {folder} …", flush=True)
        venv.create(folder, with_pip=False, clear=True, symlinks=True)
    for variable, setting in (("UV_DEFAULT_INDEX", "index-url"), ("SSL_CERT_FILE", "cert")):
        if value := pip_setting(setting):
            os.environ.setdefault(variable, value)
    try:
        provide_uv()
    except (OSError, LookupError) as error:
        sys.exit(f"ERROR: uv could not be fetched [{error}]\nHINT: put the version of {LOCK.name} into {UV} yourself")
    if what:
        print(f"Installing the locked packages into {folder} …", flush=True)
        # What is not as the lock has it is refused: packages (-c), and what builds this project (-b).
        command: list[str | Path] = [UV, "pip", "install", "-q", "--python", python, "-c", LOCK, "-b", LOCK, *what]
        if subprocess.run(command, cwd=ROOT, check=False).returncode:
            sys.exit("ERROR: the packages could not be installed\nHINT: uv's message above says which; run make again")


def provide_uv() -> None:
    """Have the locked uv and no other: old ones (0.4) take constraints without looking at their checksums."""
    locked = re.search(r"^uv==(\S+)([\s\\]+--hash=sha256:\w+)+", LOCK.read_text(), re.MULTILINE)
    if not locked:
        raise LookupError(f"{LOCK.name} has none")
    if UV.exists() and subprocess.check_output([UV, "--version"], text=True).split()[1] == locked[1]:
        return
    page = os.environ.get("UV_DEFAULT_INDEX", "https://pypi.org/simple").rstrip("/") + "/uv/"
    found = re.findall(rf"""href=["']([^"']*uv-{re.escape(locked[1])}-[^"'#]*\.whl)""", fetch(page).decode())
    wheels = sorted(urllib.parse.urljoin(page, html.unescape(link)) for link in found if runs_here(link))
    if not wheels:
        raise LookupError(f"no wheel of {locked[1]} for {platform.machine()} at the index")
    content = fetch(wheels[0])
    if hashlib.sha256(content).hexdigest() not in locked[0]:
        raise LookupError("its checksum is not the locked one")
    with zipfile.ZipFile(io.BytesIO(content)) as wheel:
        program = wheel.read(next(name for name in wheel.namelist() if name.endswith("/scripts/uv")))
    UV.parent.mkdir(parents=True, exist_ok=True)
    UV.unlink(missing_ok=True)
    UV.write_bytes(program)
    UV.chmod(0o755)


def runs_here(wheel: str) -> bool:
    """Whether the name of a wheel has this system, its C library and its processor."""
    linux = "manylinux" if platform.libc_ver()[0] == "glibc" else "musllinux"
    return ("macosx" if sys.platform == "darwin" else linux) in wheel and wheel.endswith(f"_{platform.machine()}.whl")


def fetch(address: str) -> bytes:
    """What is at an address; the login in it, if there is one, goes where it belongs."""
    parts = urllib.parse.urlsplit(address)
    login, _, host = parts.netloc.rpartition("@")
    request = urllib.request.Request(parts._replace(netloc=host).geturl())
    if login:
        request.add_header("Authorization", f"Basic {base64.b64encode(urllib.parse.unquote(login).encode()).decode()}")
    with urllib.request.urlopen(request, timeout=60) as answer:
        return bytes(answer.read())


def pip_setting(name: str) -> str | None:
    """How pip is set up: its environment variable, else its files, of which the last one counts."""
    files = ["/etc/pip.conf", str(Path.home() / ".config/pip/pip.conf"), os.environ.get("PIP_CONFIG_FILE")]
    parser = configparser.RawConfigParser()
    parser.read(file for file in files if file)
    variable = f"PIP_{name.upper().replace('-', '_')}"
    return os.environ.get(variable) or parser.get("global", name, fallback=None)


if __name__ == "__main__":
    main()
