"""Confine a program to its own files and cut it off from the network, whatever code it is made to run.

A throwaway server inevitably runs code from the dumped database as its superuser: functions behind indexes,
constraints, generated columns and materialized views. So the operating system confines the server. Landlock
(https://docs.kernel.org/userspace-api/landlock.html) lets it read programs and write only its own folder, and hides the
environment of other processes; a seccomp filter (https://docs.kernel.org/userspace-api/seccomp_filter.html) refuses all
but local sockets. Neither needs privileges, and both apply to everything the program starts.
"""

from __future__ import annotations

import ctypes
import os
import platform
import struct
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

_CREATE_RULESET, _ADD_RULE, _RESTRICT_SELF = 444, 445, 446  # the same on every architecture
_VERSION_ASKED, _PATH_BENEATH = 1, 1
_EXECUTE, _WRITE_FILE, _READ_FILE, _READ_DIR, _TRUNCATE = 1 << 0, 1 << 1, 1 << 2, 1 << 3, 1 << 14
# Landlock started with 13 file rights; version 2 added linking across folders, version 3 truncation.
_RIGHTS = {1: (1 << 13) - 1, 2: (1 << 14) - 1, 3: (1 << 15) - 1}
_ON_FILES = _EXECUTE | _WRITE_FILE | _READ_FILE | _TRUNCATE
# Since version 6, signals and abstract sockets can be scoped to the confined processes too.
_SCOPED_SINCE, _SCOPED = 6, 0b11
# What a server and the libraries of its extensions read. This includes /proc: Landlock still hides the environment and
# memory of processes outside the confinement.
_READABLE = (
    "/usr",
    "/lib",
    "/lib64",
    "/bin",
    "/sbin",
    "/etc",
    "/opt",
    "/nix/store",
    "/proc",
    "/sys/devices/system",
    "/dev",
)
_DEVICES = ("/dev/null", "/dev/zero", "/dev/full", "/dev/tty")

_NO_NEW_PRIVILEGES, _SET_SECCOMP, _FILTER = 38, 22, 2
_LOAD, _JUMP_EQUAL, _RETURN = 0x20, 0x15, 0x06
_ALLOW, _REFUSE = 0x7FFF0000, 0x00050000 | 1  # with EPERM
_LOCAL = 1  # AF_UNIX
# By architecture: its audit number, and the numbers of socket and io_uring_setup, which can also create a socket.
_CALLS = {"x86_64": (0xC000003E, 41, 425), "aarch64": (0xC00000B7, 198, 425)}
_X32 = 0x40000000  # the x32 ABI numbers the same calls differently
_LIBC = ctypes.CDLL(None, use_errno=True) if platform.system() == "Linux" else None


@dataclass(frozen=True)
class Confinement:
    """The paths a program may use in addition to the system's own. It never has network access."""

    readable: tuple[Path, ...] = ()
    writable: tuple[Path, ...] = ()


def holds() -> tuple[str, ...]:
    """Return what this system can confine: `files`, `network`, both or neither."""
    return (*(["files"] if _landlock_version() else []), *(["network"] if _filter() and _LIBC else []))


@contextmanager
def prepared(confinement: Confinement | None) -> Iterator[Callable[[], None]]:
    """Yield the function a child must call between fork and exec; a no-op if the system cannot confine."""
    if confinement is None or _LIBC is None:
        yield _nothing
        return
    rules = _ruleset(confinement)
    filter_ = _filter()
    try:
        yield lambda: _confine(rules, filter_)
    finally:
        if rules is not None:
            os.close(rules)


def _nothing() -> None:
    """Stand in for `_confine` when nothing is confined."""


def _confine(rules: int | None, filter_: ctypes.Array[ctypes.c_char] | None) -> None:
    """Make system calls only: the parent's other threads don't exist in the child, and may have held any lock."""
    if _LIBC is None or (rules is None and filter_ is None):
        return
    _LIBC.prctl(_NO_NEW_PRIVILEGES, 1, 0, 0, 0)
    if rules is not None and _LIBC.syscall(_RESTRICT_SELF, rules, 0):
        raise OSError(ctypes.get_errno(), "Landlock")
    if filter_ is not None:
        program = _Program(len(filter_) // 8, ctypes.addressof(filter_))
        if _LIBC.prctl(_SET_SECCOMP, _FILTER, ctypes.byref(program), 0, 0):
            raise OSError(ctypes.get_errno(), "seccomp")


class _Program(ctypes.Structure):
    """`struct sock_fprog`."""

    _fields_ = (("length", ctypes.c_ushort), ("instructions", ctypes.c_void_p))


class _PathBeneath(ctypes.Structure):
    """`struct landlock_path_beneath_attr`."""

    _pack_ = 1
    _fields_ = (("allowed", ctypes.c_uint64), ("parent", ctypes.c_int32))


def _landlock_version() -> int:
    """Return the kernel's Landlock version; 0 if it has none or a container forbids it."""
    return max(0, _LIBC.syscall(_CREATE_RULESET, None, 0, _VERSION_ASKED)) if _LIBC else 0


def _ruleset(confinement: Confinement) -> int | None:
    """Return a descriptor of the rules; None if the kernel has no Landlock."""
    version = _landlock_version()
    if not version or _LIBC is None:
        return None
    rights = _RIGHTS[min(version, max(_RIGHTS))]
    scoped = _SCOPED if version >= _SCOPED_SINCE else 0
    attribute = (ctypes.c_uint64 * (3 if scoped else 1))(rights, *((0, scoped) if scoped else ()))
    rules: int = _LIBC.syscall(_CREATE_RULESET, attribute, ctypes.sizeof(attribute), 0)
    if rules < 0:
        return None
    reading = _EXECUTE | _READ_FILE | _READ_DIR
    _allow(rules, [*map(Path, _READABLE), *confinement.readable], reading)
    _allow(rules, list(map(Path, _DEVICES)), (_READ_FILE | _WRITE_FILE | _TRUNCATE) & rights)
    _allow(rules, confinement.writable, rights)
    return rules


def _allow(rules: int, paths: Sequence[Path], rights: int) -> None:
    assert _LIBC is not None
    for path in paths:
        try:
            descriptor = os.open(path, os.O_PATH | os.O_CLOEXEC)
        except OSError:
            continue  # a missing path needs no rule
        allowed = rights if path.is_dir() else rights & _ON_FILES
        beneath = _PathBeneath(allowed, descriptor)
        _LIBC.syscall(_ADD_RULE, rules, _PATH_BENEATH, ctypes.byref(beneath), 0)
        os.close(descriptor)


def _filter() -> ctypes.Array[ctypes.c_char] | None:
    """Return a seccomp program that refuses all but local sockets; None for an unknown architecture."""
    if platform.machine() not in _CALLS:
        return None
    architecture, socket, io_uring = _CALLS[platform.machine()]
    call, machine, family = 0, 4, 16  # offsets in `struct seccomp_data`
    program = [
        (_LOAD, 0, 0, machine), (_JUMP_EQUAL, 0, 7, architecture),  # refuse calls of another architecture
        (_LOAD, 0, 0, call), (0x35, 5, 0, _X32),  # and x32 calls
        (_JUMP_EQUAL, 4, 0, io_uring), (_JUMP_EQUAL, 0, 2, socket),
        (_LOAD, 0, 0, family), (_JUMP_EQUAL, 0, 1, _LOCAL),
        (_RETURN, 0, 0, _ALLOW), (_RETURN, 0, 0, _REFUSE),
    ]  # fmt: skip
    return ctypes.create_string_buffer(b"".join(struct.pack("=HBBI", *i) for i in program), 8 * len(program))
