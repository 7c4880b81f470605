"""Supply the images that the compose file names: from a registry, or built here when none is reachable."""

from __future__ import annotations

import configparser
import io
import re
import runpy
import shutil
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

import httpx

from tests.image.engine import Engine

ROOT = Path(__file__).parents[2]
_STAND_INS = Path(__file__).parent / "stand_ins"
_TRUST = "/etc/ssl/certs/ca-certificates.crt"


@dataclass(frozen=True)
class Images:
    """The names of the three images, all of which exist."""

    service: str
    postgres: str
    s3: str


def make_images(engine: Engine) -> Images:
    """Build the image of this project, and every base image that can't be pulled."""
    wanted = _default("Dockerfile", r"ARG BASE_IMAGE=(\S+)")
    base = wanted if engine.has_image(wanted) else _bootstrapped(engine, wanted)
    source = "pgdg" if _reachable(_default("Dockerfile", r"ARG PGDG_MIRROR=(\S+)")) else "debian"
    service = engine.build(ROOT, "pg-roundtrip-test", BASE_IMAGE=base, POSTGRES_SOURCE=source)
    postgres = _default("docker-compose.yml", r"POSTGRES_IMAGE:-([^}]+)")
    s3 = _default("docker-compose.yml", r"S3_IMAGE:-([^}]+)")
    return Images(
        service,
        postgres if engine.has_image(postgres) else _stand_in_postgres(engine, base),
        s3 if engine.has_image(s3) else _stand_in_s3(engine, base),
    )


def _default(file: str, pattern: str) -> str:
    found = re.search(pattern, (ROOT / file).read_text())
    assert found, f"{file} names no image"
    return found[1]


def _reachable(address: str) -> bool:
    try:
        return httpx.get(f"{address}/", timeout=10).status_code < 500
    except httpx.HTTPError:
        return False


def _stand_in_postgres(engine: Engine, base: str) -> str:
    return engine.build(_STAND_INS / "postgres", "pg-roundtrip-test-postgres", BASE_IMAGE=base)


def _stand_in_s3(engine: Engine, base: str) -> str:
    with tempfile.TemporaryDirectory() as folder:
        shutil.copy(_STAND_INS / "s3" / "Dockerfile", folder)
        shutil.copy(Path(sys.prefix) / "bin" / "weed", folder)
        return engine.build(Path(folder), "pg-roundtrip-test-s3", BASE_IMAGE=base)


def _bootstrapped(engine: Engine, wanted: str) -> str:
    """Build an equivalent of `debian:SUITE-slim` from Debian's packages, with this machine's package settings in it."""
    name = f"pg-roundtrip-test-base:{wanted.rpartition(':')[2]}"
    if engine.run("images", "-q", name).strip():
        return name
    assert shutil.which("debootstrap"), f"{wanted} cannot be pulled\nHINT: apt-get install debootstrap"
    suite = wanted.rpartition(":")[2].removesuffix("-slim")
    with tempfile.TemporaryDirectory(prefix="image-test-") as folder:
        root = Path(folder) / "root"
        command = ["debootstrap", "--variant=minbase", "--include=ca-certificates", suite, str(root), _debian_mirror()]
        made = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False)
        assert made.returncode == 0, made.stdout[-2000:]
        _make_slim(root)
        _hand_on_settings(root)
        archive = Path(folder) / "root.tar"
        subprocess.run(["tar", "-C", str(root), "-cf", str(archive), "."], check=True)
        engine.run("import", str(archive), name, timeout_s=300)
    return name


def _debian_mirror() -> str:
    """Return the mirror that this machine's apt uses for Debian's own packages."""
    listing = ["apt-get", "indextargets", "--format", "$(REPO_URI)", "Created-By: Packages", "Origin: Debian"]
    known = subprocess.run(listing, capture_output=True, text=True, check=False).stdout.split()
    return next((uri for uri in known if "security" not in uri), "https://deb.debian.org/debian")


def _make_slim(root: Path) -> None:
    """Leave out what Debian's slim images leave out, and disable apt's cache, as they do."""
    for folder in ("usr/share/doc", "usr/share/man", "usr/share/locale", "var/lib/apt/lists", "var/cache/apt"):
        shutil.rmtree(root / folder, ignore_errors=True)
    excluded = "".join(f"path-exclude /usr/share/{name}/*\n" for name in ("doc", "man", "locale"))
    (root / "etc/dpkg/dpkg.cfg.d/slim").write_text(excluded)
    (root / "etc/apt/apt.conf.d/slim").write_text(
        'DPkg::Post-Invoke { "rm -f /var/cache/apt/archives/*.deb || true"; };\n'
        'Dir::Cache::pkgcache ""; Dir::Cache::srcpkgcache ""; Acquire::Languages "none";\n'
    )


def _hand_on_settings(root: Path) -> None:
    """Copy this machine's apt and pip settings into the image, so that builds in it reach the same indexes."""
    for folder in ("apt.conf.d", "auth.conf.d"):
        shutil.copytree(f"/etc/apt/{folder}", root / "etc/apt" / folder, dirs_exist_ok=True)
    shutil.copy(_TRUST, root / "etc/machine-ca.pem")
    (root / "etc/apt/apt.conf.d/machine-ca").write_text('Acquire::https::CAInfo "/etc/machine-ca.pem";\n')
    pip = configparser.RawConfigParser()
    index = runpy.run_path(str(ROOT / ".ci" / "bootstrap.py"))["pip_setting"]("index-url")
    pip["global"] = {"cert": "/etc/machine-ca.pem", **({"index-url": index} if index else {})}
    text = io.StringIO()
    pip.write(text)
    (root / "etc/pip.conf").write_text(text.getvalue())
