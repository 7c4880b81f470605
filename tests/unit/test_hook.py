"""A command of the user's ends in time, whatever it does, and its output is bounded, escaped and masked."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest

from blocks.config.secrets import Mask
from tasks.engine import hook
from tasks.engine.hook import Hook, HookEnd, carry_out
from tests.processes import ended

Run = Callable[..., tuple[HookEnd, list[str]]]
IGNORES_SIGTERM = "trap '' TERM; echo $$ > pid; while :; do sleep 0.05; done"
PYTHON = {
    "invalid UTF-8": r"import os; os.write(1, b'one\xff\xfe two\n')",
    "control characters": r"print('\x1b[31mred\x1b[0m \u202eback\x00')",
    "progress": r"print('10 %\r50 %\r100 %')",
    "no line feed": r"print('last words', end='')",
    "standard error": r"import sys; print('one', flush=True); print('two', file=sys.stderr)",
    "nothing to read": "import sys; print(repr(sys.stdin.read()))",
}
SHOWN = {
    "invalid UTF-8": ["one\ufffd\ufffd two"],
    "control characters": [r"\x1b[31mred\x1b[0m \u202eback\x00"],
    "progress": ["100 %"],
    "no line feed": ["last words"],
    "standard error": ["one", "two"],
    "nothing to read": ["''"],
}


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    """A function that runs a shell script, or another command, in the test's folder."""
    monkeypatch.chdir(tmp_path)

    def call(
        script: str = "", *command: str, timeout_s: float = 20, mask: Mask | None = None
    ) -> tuple[HookEnd, list[str]]:
        said: list[str] = []
        words = command or ("sh", "-c", script)
        found = carry_out(
            Hook("SOME_HOOK", words, {"PATH": os.environ["PATH"]}, timeout_s, mask or Mask([])), said.append
        )
        return found, said

    return call


def pid_in(folder: Path) -> int:
    """Return the process id that a script wrote."""
    return int((folder / "pid").read_text())


def soon_ended(pid: int) -> bool:
    """Return whether a process is gone, as soon as the system has ended it."""
    deadline = time.monotonic() + 5
    while not ended(pid) and time.monotonic() < deadline:
        time.sleep(0.02)
    return ended(pid)


@pytest.mark.parametrize(("script", "end"), [
    ("exit 0", HookEnd()), ("exit 3", HookEnd("sh exited with code 3")), ("no-such-program", HookEnd("sh exited with code 127", ran=False)),
    ("kill -9 $$", HookEnd("sh was ended by SIGKILL", ran=False)),
])  # fmt: skip
def test_how_a_command_ends(run: Run, script: str, end: HookEnd) -> None:
    """Its exit code counts; a shell that finds no program, and a signal, are no answer of its own."""
    assert run(script)[0] == end


def test_a_command_that_cannot_be_started(run: Run, tmp_path: Path) -> None:
    """A program that isn't there, isn't executable, is a folder, or is no program: each is said."""
    (tmp_path / "plain.sh").write_text("exit 0")
    (tmp_path / "odd").write_bytes(b"\x00\x01")
    (tmp_path / "odd").chmod(0o755)
    assert run("", "./missing.sh")[0] == HookEnd(
        "missing.sh could not be started: No such file or directory", ran=False
    )
    for name in ("plain.sh", "."):
        assert run("", f"./{name}")[0].trouble.endswith("could not be started: Permission denied")
    assert run("", "./odd")[0] == HookEnd("odd could not be started: Exec format error", ran=False)


@pytest.mark.parametrize("name", PYTHON)
def test_what_is_shown(run: Run, name: str) -> None:
    """Lines are text of one kind, whatever bytes they are; standard error is among them, and there is nothing to read."""
    assert run("", sys.executable, "-c", PYTHON[name]) == (HookEnd(), SHOWN[name])


def test_much_output_is_shortened(run: Run) -> None:
    """The first 200 lines and the last 20 are shown, each up to 500 characters; the command isn't held up."""
    found, said = run("seq 1 300; head -c 3000000 /dev/zero | tr '\\0' x; echo; echo end; exit 1")
    assert found == HookEnd("sh exited with code 1")
    assert said[:200] == [str(n) for n in range(1, 201)]
    assert said[200] == "… 82 more lines …"
    assert (len(said), said[-3], said[-2], said[-1]) == (221, "300", "x" * 500 + "…", "end")


def test_endless_output_ends(run: Run) -> None:
    """The time limit holds, however much is printed, with and without line feeds."""
    for script in ("yes", "cat /dev/zero"):
        found, said = run(script, timeout_s=0.5)
        assert found == HookEnd("sh did not end within 0.5 s", ran=False)
        assert len(said) <= 221


def test_a_silent_command_ends(run: Run) -> None:
    """One that prints nothing, and one that has closed its output, are ended just the same."""
    for script in ("sleep 60", "exec >&- 2>&-; sleep 60"):
        assert run(script, timeout_s=0.3)[0] == HookEnd("sh did not end within 0.3 s", ran=False)


def test_a_command_that_has_closed_its_output_may_go_on(run: Run) -> None:
    """It is waited for, and its exit code counts."""
    assert run("exec >&- 2>&-; sleep 0.3; exit 4")[0] == HookEnd("sh exited with code 4")


def test_a_command_that_ignores_sigterm_is_killed(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing keeps us from going on."""
    monkeypatch.setattr(hook, "_PATIENCE_S", 0.2)
    assert run(IGNORES_SIGTERM, timeout_s=0.5)[0].trouble
    assert soon_ended(pid_in(tmp_path))


def test_a_command_may_clear_up(run: Run, tmp_path: Path) -> None:
    """Its whole process group gets SIGTERM first, and a moment."""
    run("trap 'touch cleared; exit 1' TERM; sleep 60 & wait", timeout_s=0.5)
    assert (tmp_path / "cleared").exists()


@pytest.mark.parametrize("redirected", ["", ">/dev/null 2>&1"])
def test_what_a_command_leaves_running_ends_with_it(run: Run, tmp_path: Path, redirected: str) -> None:
    """A background process, even one that holds our pipe open, neither holds us up nor outlives the command."""
    assert run(f"sleep 600 {redirected} & echo $! > pid; exit 0")[0] == HookEnd()
    assert soon_ended(pid_in(tmp_path))


def test_a_daemon_is_left_alone(run: Run, tmp_path: Path) -> None:
    """What has left the process group goes on, and does not hold us up though it holds our pipe."""
    assert run("setsid sh -c 'echo $$ > pid; sleep 600' & while [ ! -s pid ]; do sleep 0.02; done")[0] == HookEnd()
    daemon = psutil.Process(pid_in(tmp_path))
    assert not ended(daemon)
    for process in (*daemon.children(), daemon):
        process.kill()


def test_a_command_ends_when_we_are_told_to(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Ctrl-C or SIGTERM here ends it with its whole group."""

    def stop(_self: object, _data: bytes) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(hook._Said, "hear", stop)
    with pytest.raises(KeyboardInterrupt):
        run("sleep 600 & echo $! > pid; echo begun; wait")
    assert soon_ended(pid_in(tmp_path))


def test_secrets_are_masked(run: Run) -> None:
    """Our secrets are replaced as they are, encoded and decoded, and inside of addresses."""
    mask = Mask(
        ["pä ss/w@rd", "postgresql://app:s3cret%2Fword@db:5432/shop", "https://hooks.example.com/services/T0/B0/xyz"]
    )
    _, said = run(
        "echo 'a pä ss/w@rd b'; echo p%C3%A4+ss%2Fw%40rd; echo p%c3%a4%20ss%2fw%40rd; echo s3cret/word S3CRET%2FWORD;"
        " echo POST /services/T0/B0/xyz; echo postgresql://app:s3cret%2Fword@db:5432/shop",
        mask=mask,
    )
    assert said == ["a *** b", "***", "***", "*** ***", "POST ***", "***"]


@pytest.mark.parametrize("before", range(16_370, 16_386, 3))
def test_no_secret_is_shown_in_part(run: Run, before: int) -> None:
    """Where a long line is cut in the middle of a secret, no part of it is left."""
    mask = Mask(["correct-horse-battery", "filler"])
    script = f"import sys; sys.stdout.write('filler' * {before // 6} + 'z' * {before % 6} + 'correct-horse-battery' + 'z' * 9999)"
    _, (shown,) = run("", sys.executable, "-c", script, mask=mask)
    assert "correct" not in shown


def test_a_mask_of_nothing_changes_nothing() -> None:
    """Short words stay, too: masking those would make the log unreadable."""
    assert Mask([])("text") == Mask(["", "abc"])("abc text")[4:] == "text"
