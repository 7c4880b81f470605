"""`.ci/bootstrap.py` needs only Python and a package index, and installs only what is in the lock."""

from __future__ import annotations

import base64
import hashlib
import io
import os
import platform
import shutil
import subprocess
import sys
import threading
import zipfile
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
VERSION = "9.9.9"
NAME = f"uv-{VERSION}-py3-none-manylinux_2_17_{platform.machine()}.whl"
LOGIN = "somebody:pass@word"
# The stand-in prints its arguments, where the real one would install.
STAND_IN = f'#!/bin/sh\n[ "$1" = --version ] && echo "uv {VERSION}" && exit\necho "called: $*"\n'


def wheel(files: dict[str, str]) -> bytes:
    """Return a wheel, or something close enough to one."""
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w") as archive:
        for name, text in files.items():
            archive.writestr(name, text)
    return content.getvalue()


UV = wheel({f"uv-{VERSION}.data/scripts/uv": STAND_IN})


@pytest.fixture
def index() -> Iterator[str]:
    """A package index that serves the stand-in for uv to whoever logs in; its address includes the login."""

    class Answer(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            allowed = self.headers["Authorization"] == f"Basic {base64.b64encode(LOGIN.encode()).decode()}"
            others = f'<a href="uv-{VERSION}-py3-none-win32.whl"></a><a href="uv-1.0-py3-none-any.whl"></a>'
            page = f'{others}<a href="../files/{NAME}#sha256=0">{NAME}</a>'.encode()
            content = {"/simple/uv/": page, f"/simple/files/{NAME}": UV}.get(self.path)
            self.send_response(200 if allowed and content else 401)
            self.end_headers()
            self.wfile.write(content or b"")

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Answer) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://{LOGIN.replace('pass@', 'pass%40')}@127.0.0.1:{server.server_port}/simple"
        server.shutdown()


Bootstrap = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def bootstrap(tmp_path: Path) -> Bootstrap:
    """The script in a folder of its own, without this machine's pip settings; call it with a lock and its arguments."""
    (tmp_path / ".ci").mkdir()
    shutil.copy(ROOT / ".ci" / "bootstrap.py", tmp_path / ".ci")

    def run(lock: str, *arguments: str, **environ: str) -> subprocess.CompletedProcess[str]:
        (tmp_path / "requirements.lock").write_text(lock)
        command = [sys.executable, ".ci/bootstrap.py", "env", *arguments]
        given = {"HOME": str(tmp_path), "PATH": os.environ["PATH"], **environ}
        return subprocess.run(command, env=given, cwd=tmp_path, capture_output=True, text=True, check=False)

    return run


def locked(name: str, version: str, content: bytes) -> str:
    """Return a lock entry, with another checksum before the right one."""
    hashes = f"--hash=sha256:{'0' * 64}", f"--hash=sha256:{hashlib.sha256(content).hexdigest()}"
    return f"{name}=={version} \\\n    {hashes[0]} \\\n    {hashes[1]}\n    # via something\n"


@pytest.mark.parametrize("told_by", ["its variable", "its file"])
def test_a_machine_with_nothing_gets_uv_from_its_index(
    told_by: str, index: str, bootstrap: Bootstrap, tmp_path: Path
) -> None:
    """The script fetches this machine's wheel once from pip's configured index, then installs under the lock."""
    settings = tmp_path / ".config" / "pip" / "pip.conf"
    settings.parent.mkdir(parents=True)
    settings.write_text(f"[global]\nindex-url = {index if told_by == 'its file' else 'http://127.0.0.1:1'}\n")
    told = {"PIP_INDEX_URL": index} if told_by == "its variable" else {}
    lock = locked("uv", VERSION, UV)
    first = bootstrap(lock, "-e", ".[demo]", **told)
    constrained = f"-c {tmp_path / 'requirements.lock'} -b {tmp_path / 'requirements.lock'}"
    assert (first.returncode, first.stderr) == (0, "")
    assert f"called: pip install -q --python env/bin/python {constrained} -e .[demo]" in first.stdout
    again = bootstrap(lock, "anything", PIP_INDEX_URL="http://127.0.0.1:1")
    assert (again.returncode, "Making" in again.stdout) == (0, False)


def test_another_uv_than_the_locked_one_is_refused(index: str, bootstrap: Bootstrap) -> None:
    """Any other uv is refused: it would be trusted with everything else."""
    ended = bootstrap(locked("uv", VERSION, b"another"), "anything", PIP_INDEX_URL=index)
    assert ended.returncode == 1
    assert "ERROR: uv could not be fetched [its checksum is not the locked one]" in ended.stderr


def test_an_index_without_it_is_told(index: str, bootstrap: Bootstrap) -> None:
    """The error for an index without uv says what to do instead."""
    ended = bootstrap(locked("uv", "1.2.3", UV), PIP_INDEX_URL=index)
    assert (ended.returncode, "no wheel of 1.2.3" in ended.stderr, "HINT: " in ended.stderr) == (1, True, True)


@pytest.mark.parametrize("content", ["as it was locked", "changed since"])
def test_what_was_not_locked_is_not_installed(content: str, bootstrap: Bootstrap, tmp_path: Path) -> None:
    """The real uv verifies the hashes in constraints: everything depends on that."""
    real = ROOT / ".venv" / "bin" / "uv"
    version = subprocess.check_output([real, "--version"], text=True).split()[1]
    (tmp_path / ".venv" / "bin").mkdir(parents=True)
    (tmp_path / ".venv" / "bin" / "uv").symlink_to(real)
    (tmp_path / "wheels").mkdir()
    about = "Metadata-Version: 2.1\nName: tiny\nVersion: 1.0\n"
    tag = "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
    record = "tiny.py,,\ntiny-1.0.dist-info/METADATA,,\ntiny-1.0.dist-info/WHEEL,,\ntiny-1.0.dist-info/RECORD,,\n"
    files = {"METADATA": about, "WHEEL": tag, "RECORD": record}
    made = wheel({"tiny.py": "", **{f"tiny-1.0.dist-info/{name}": text for name, text in files.items()}})
    (tmp_path / "wheels" / "tiny-1.0-py3-none-any.whl").write_bytes(made)
    lock = locked("tiny", "1.0", made if content == "as it was locked" else b"") + locked("uv", version, b"")
    ended = bootstrap(lock, "--offline", "--no-index", "--find-links", "wheels", "tiny")
    installed = [*(tmp_path / "env").glob("lib/*/site-packages/tiny.py")]
    if content == "as it was locked":
        assert (ended.returncode, len(installed)) == (0, 1), ended.stderr
    else:
        assert (ended.returncode, installed) == (1, [])
        assert "Hash mismatch" in ended.stderr
        assert "ERROR: the packages could not be installed" in ended.stderr
