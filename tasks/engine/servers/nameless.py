"""Run initdb under a user id that /etc/passwd doesn't know: it looks up its name, which PostgreSQL itself never does.

Container platforms choose such ids (`docker run --user`, OpenShift). A user namespace, in which the id is another one's,
needs no privileges where the system allows it; the library nss_wrapper (https://cwrap.org/nss_wrapper.html), which the
image has, works everywhere.
"""

from __future__ import annotations

import ctypes
import os
import pwd
import sys
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from tasks.engine import process

_NEW_USER = 0x10000000  # CLONE_NEWUSER
_LIBRARY = "libnss_wrapper.so"
WITHOUT_NAME = "has no name here, and initdb needs one"
HINT = "install libnss-wrapper (Debian) or nss_wrapper (Fedora), add the user id to /etc/passwd, or drill with VERIFY_TARGET=database"


@dataclass(frozen=True)
class Disguise:
    """What makes a program see a name for our user id: variables, or what to call before it is executed."""

    environ: Mapping[str, str] = field(default_factory=dict)
    before: Callable[[], None] | None = None


def disguise(folder: Path) -> Disguise:
    """Return what a program in a folder needs to see a name; nothing if our user id has one. Raises OSError if nothing helps."""
    uid = os.geteuid()
    if _name_of(uid):
        return Disguise()
    other = next((known for known in pwd.getpwall() if known.pw_uid), None)
    if other and _namespaces_work():
        return Disguise(before=lambda: _become(other.pw_uid))
    for place in (Path("/usr/lib"), Path("/usr/lib64"), Path("/usr/local/lib")):
        if library := next(place.rglob(_LIBRARY), None):
            return Disguise(_wrapped(library, folder, uid))
    raise OSError(f"the user id {uid} {WITHOUT_NAME}")


def can_have_name() -> bool:
    """Whether initdb can run under our user id."""
    with tempfile.TemporaryDirectory() as folder:
        try:
            disguise(Path(folder))
        except OSError:
            return False
    return True


def _name_of(uid: int) -> str:
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return ""


def _wrapped(library: Path, folder: Path, uid: int) -> dict[str, str]:
    users, groups = folder / "passwd", folder / "group"
    users.write_text(f"postgres:x:{uid}:{os.getegid()}::/:/usr/sbin/nologin\n")
    groups.write_text(f"postgres:x:{os.getegid()}:\n")
    for made in (users, groups):
        made.chmod(0o600)  # whatever the umask
    return {"LD_PRELOAD": str(library), "NSS_WRAPPER_PASSWD": str(users), "NSS_WRAPPER_GROUP": str(groups)}


def _namespaces_work() -> bool:
    """Try it in a process of its own, because there is no way back."""
    code = "import ctypes, os, sys; sys.exit(ctypes.CDLL(None).unshare(0x10000000))"
    try:
        return process.run([sys.executable, "-I", "-S", "-c", code], {}, timeout_s=10)[0] == 0
    except (OSError, TimeoutError):
        return False


def _become(uid: int) -> None:
    """Enter a user namespace in which we are another user; outside, files are still ours."""
    ours, group = os.geteuid(), os.getegid()
    if ctypes.CDLL(None, use_errno=True).unshare(_NEW_USER):
        raise OSError(ctypes.get_errno(), "unshare")
    for name, text in (("uid_map", f"{uid} {ours} 1"), ("setgroups", "deny"), ("gid_map", f"{group} {group} 1")):
        Path("/proc/self", name).write_text(text)
