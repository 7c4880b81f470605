"""Carry out a plan for roles and settings on a server, each statement by itself, with its own result."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from blocks.errors import RestoreFailed
from blocks.sql import sqlstate
from blocks.sql.connection import Connection
from blocks.sql.restore_session import Refusal, RestoreSession
from blocks.sql.server import Server
from tasks.engine.dump.global_statements import quoted, without_grantor
from tasks.engine.restore.globals_plan import Existing, Step, own_name, piecemeal, place_in

_BEGINNING = (
    "SET client_encoding = 'UTF8'", "SET standard_conforming_strings = on", "SET default_transaction_read_only = off"
)  # fmt: skip
_POWERS = "SELECT rolsuper, rolcreaterole OR rolsuper FROM pg_roles WHERE rolname = current_user"
_OWN = """
SELECT 'setting', coalesce(r.rolname, ''), split_part(s.setting, '=', 1)
FROM pg_db_role_setting x JOIN pg_database d ON d.oid = x.setdatabase LEFT JOIN pg_roles r ON r.oid = x.setrole,
unnest(x.setconfig) AS s(setting) WHERE d.datname = %s
UNION ALL SELECT 'comment', '', '' FROM pg_database WHERE datname = %s AND shobj_description(oid, 'pg_database') IS NOT NULL"""


@dataclass(frozen=True)
class Result:
    """What became of a step: what the server said if it was not carried out, or what it lacks."""

    step: Step
    done: bool
    said: str = ""


def look_around(server: Server, database: str = "") -> Existing:
    """Return what a server has, and what our role may do; with a database, also what that has set."""
    with server.connect() as connection:
        ((superuser, may_create),) = connection.query(_POWERS)
        return Existing(
            frozenset(str(row[0]) for row in connection.query("SELECT rolname FROM pg_roles")),
            frozenset(str(row[0]) for row in connection.query("SELECT spcname FROM pg_tablespace")),
            bool(superuser), bool(may_create), _own_of(connection, database),
        )  # fmt: skip


def _own_of(connection: Connection, database: str) -> frozenset[str] | None:
    if not connection.query("SELECT 1 FROM pg_database WHERE datname = %s", database):
        return None
    found = connection.query(_OWN, database, database)
    return frozenset(own_name(kind, {"role": role, "parameter": name}) for kind, role, name in found)


def carry_out(server: Server, steps: Sequence[Step], tell: Callable[[Result], None]) -> None:
    """Create what is planned: roles with all that is theirs in one transaction, then tablespaces.

    If the run dies, the next one finds all of the roles or none. Raises RestoreFailed if the end can't be committed.
    """
    wanted = [s for s in steps if s.action == "create"]
    of_places = [s for s in wanted if place_in(s.statement)]
    with server.connect() as connection, connection.restore_session() as session:
        for setting in _BEGINNING:
            session.execute(setting.encode())
        _together(session, [step for step in wanted if step not in of_places], tell)
        for step in of_places:
            if step.statement.kind == "tablespace":  # can't be created in a transaction
                tell(_outcome(step, session.execute(_text(step.statement.text))))
        _together(session, [step for step in of_places if step.statement.kind != "tablespace"], tell)


def carry_out_within(connection: Connection, steps: Sequence[Step]) -> list[Result]:
    """Create what is planned as a part of the transaction that the connection has open."""
    with connection.restore_session() as session:
        for setting in _BEGINNING:
            session.execute(setting.encode())
        return [_carry_out(session, step) for step in steps if step.action == "create"]


def _together(session: RestoreSession, steps: Sequence[Step], tell: Callable[[Result], None]) -> None:
    """Carry out steps in one transaction; tell of them once it is committed."""
    if not steps:
        return
    _demand(session.execute(b"BEGIN"))
    results = [_carry_out(session, step) for step in steps]
    _demand(session.execute(b"COMMIT"))
    for result in results:
        tell(result)


def _demand(refusal: Refusal | None) -> None:
    if refusal:
        raise RestoreFailed(refusal.message, sqlstate=refusal.sqlstate)


def _carry_out(session: RestoreSession, step: Step) -> Result:
    """Carry out one step; if the server refuses a part of it, do without that part."""
    s = step.statement
    refusal = _as_role(session, step)
    if not refusal:
        return Result(step, done=True)
    if s.kind == "attributes" and refusal.sqlstate == sqlstate.INSUFFICIENT_PRIVILEGE:
        tried = [(privilege, _alone(session, text)) for privilege, text in piecemeal(s)]
        lost = [privilege for privilege, refused in tried if refused]
        if "" not in lost:
            return Result(step, done=True, said=f"made without {', '.join(lost)}: {refusal.message}")
    elif s.as_role or "grantor" in s.values:
        again = _alone(session, without_grantor(s).text)
        if not again:
            return Result(step, done=True, said=f"granted by our own role: {refusal.message}")
    return _outcome(step, refusal)


def _outcome(step: Step, refusal: Refusal | None) -> Result:
    return Result(step, done=not refusal, said=refusal.message if refusal else "")


def _as_role(session: RestoreSession, step: Step) -> Refusal | None:
    s = step.statement
    if not s.as_role:
        return _alone(session, s.text)
    with _savepoint(session) as undo:
        refusal = session.execute(_text(f"SET SESSION AUTHORIZATION {quoted(s.as_role)}"))
        refusal = refusal or session.execute(_text(s.text))
        if refusal:
            undo()
        session.execute(b"RESET SESSION AUTHORIZATION")
    return refusal


def _alone(session: RestoreSession, text: str) -> Refusal | None:
    with _savepoint(session) as undo:
        refusal = session.execute(_text(text))
        if refusal:
            undo()
    return refusal


@contextlib.contextmanager
def _savepoint(session: RestoreSession) -> Iterator[Callable[[], object]]:
    """Let one statement fail without the others."""
    session.execute(b"SAVEPOINT one")
    yield lambda: session.execute(b"ROLLBACK TO SAVEPOINT one")
    session.execute(b"RELEASE SAVEPOINT one")


def _text(statement: str) -> bytes:
    return statement.encode(errors="surrogateescape")
