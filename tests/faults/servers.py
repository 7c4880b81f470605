"""Dedicated servers for tests that a shared one can't serve: restarts, TLS, a pooler in front."""

from __future__ import annotations

import os
import pwd
import shutil
import socket
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from pydantic import SecretStr

from blocks.sql.server import Server
from blocks.sql.url import conninfo_url
from tasks.engine.servers.programs import Client
from tasks.engine.servers.sandbox import running_server
from tests.faults.aftermath import await_that
from tests.integration.objects import asked

PGBOUNCER = "/usr/sbin/pgbouncer"
_PLACE = tempfile.gettempdir()  # evaluated before any test changes it


def owner() -> tuple[int, int] | None:
    """The user that servers run as when we are root; None when we aren't."""
    return pwd.getpwnam("postgres")[2:4] if os.geteuid() == 0 else None


def as_owner() -> dict[str, int]:
    """Return the options that start a process as that user."""
    return dict(zip(("user", "group"), user, strict=True)) if (user := owner()) else {}


@contextmanager
def open_folder() -> Iterator[Path]:
    """Create a folder that the servers' user can enter."""
    # Not in the current temporary folder, because tests check that nothing is left there.
    folder = Path(tempfile.mkdtemp(prefix="server-", dir=_PLACE))
    try:
        folder.chmod(0o711)
        yield folder
    finally:
        shutil.rmtree(folder)


def give(path: Path) -> Path:
    """Make a file readable by the servers' user only; PostgreSQL insists on that for a key."""
    path.chmod(0o600)
    if user := owner():
        os.chown(path, *user)
    return path


class Restartable:
    """A server that can be stopped and started again on its data, as by an administrator or after a crash."""

    def __init__(self, server: Server, client: Client) -> None:
        self.server = server
        self._client = client
        self._data = asked(server, "SHOW data_directory")[0][0]

    def stop(self, mode: str) -> None:
        """Stop it: `fast` as an administrator would, `immediate` as in a crash."""
        self._control("stop", f"--mode={mode}")

    def start(self) -> None:
        """Start it with the same options as before."""
        options = (Path(self._data) / "postmaster.opts").read_text().partition(" ")[2]
        self._control("start", f"--options={options}", "--log=/dev/null")

    def _control(self, what: str, *options: str) -> None:
        command = [self._client.program("pg_ctl"), f"--pgdata={self._data}", "--wait", "--timeout=30", "--silent", what]
        subprocess.run([*command, *options], cwd="/", check=True, stdout=subprocess.DEVNULL, **as_owner())  # type: ignore[call-overload]


@contextmanager
def restartable_server(client: Client, port: int) -> Iterator[Restartable]:
    """Run a restartable server while the context lasts."""
    with running_server(client, port=port) as server:
        made = Restartable(server, client)
        try:
            yield made
        finally:
            made.stop("immediate")


def at(server: Server, port: int | str = "", **parameters: str) -> Server:
    """Return the same database by another route."""
    given = {**server.parameters(), **({"port": str(port)} if port else {}), **parameters}
    return Server(url=SecretStr(conninfo_url(given)))


@contextmanager
def pooler(server: Server, port: int, mode: str) -> Iterator[None]:
    """Run PgBouncer in front of a server, pooling by session, transaction or statement."""
    known = server.parameters()
    with open_folder() as folder:
        users, settings = folder / "users", folder / "settings"
        users.write_text(f'"{known["user"]}" "{known["password"]}"\n')
        settings.write_text(
            f"[databases]\n* = host=127.0.0.1 port={known['port']}\n[pgbouncer]\nlisten_addr = 127.0.0.1\nlisten_port = {port}\n"
            f"auth_type = plain\nauth_file = {give(users)}\npool_mode = {mode}\nunix_socket_dir =\n"
        )
        command = [PGBOUNCER, "--quiet", str(give(settings))]
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, **as_owner())  # type: ignore[call-overload]
        try:
            await_that(lambda: answers(port), "the pooler listens")
            yield
        finally:
            process.kill()
            process.wait()


def answers(port: int) -> bool:
    """Return whether something listens on a port."""
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def make_certificate(folder: Path, name: str) -> tuple[Path, Path]:
    """Make a self-signed certificate for a host name; return it and its key."""
    certificate, key = folder / f"{name}.crt", folder / f"{name}.key"
    command = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "2",
               "-subj", f"/CN={name}", "-addext", f"subjectAltName=DNS:{name}", "-keyout", str(key), "-out", str(certificate)]  # fmt: skip
    subprocess.run(command, check=True, capture_output=True)
    return certificate, give(key)


@contextmanager
def tls_server(client: Client, port: int, folder: Path) -> Iterator[Server]:
    """Run a server that accepts only TLS connections; its certificate is `localhost.crt` in the folder."""
    certificate, key = make_certificate(folder, "localhost")
    rules = folder / "rules"
    rules.write_text("hostssl all all 127.0.0.1/32 scram-sha-256\n")
    settings = {"ssl": "on", "ssl_cert_file": str(certificate), "ssl_key_file": str(key), "hba_file": str(give(rules))}
    with running_server(client, port=port, settings=settings) as server:
        yield server
