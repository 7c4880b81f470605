"""Rehearse the restore of roles and settings: carry them out on a throwaway server, read them again, and compare.

The server is not the one that the dump is restored to. So no setting of a role or of the database changes how the dump
is read, no code of the dump runs where these roles exist, and nothing in either can hide a fault of the other.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from pydantic import SecretStr

from blocks.sql import sqlstate
from blocks.sql.restore_session import Refusal, RestoreSession
from blocks.sql.server import Server
from blocks.sql.url import conninfo_url
from tasks.engine.drill.globals_compared import differences
from tasks.engine.dump.global_statements import GlobalStatement, literal, quoted, without_grantor
from tasks.engine.dump.globals import Globals, missing_roles, read_globals
from tasks.engine.dump.warnings import bounded
from tasks.engine.repository import checks as checklist
from tasks.engine.repository.checks import compared, counted, not_possible, shortened, warned
from tasks.engine.repository.manifest import Check, Manifest
from tasks.engine.restore.refusals import error_of
from tasks.engine.servers.data_directory import PristineData
from tasks.engine.servers.programs import Client, major_of
from tasks.engine.servers.sandbox import running_server

_OUR_SESSION = "-c session_preload_libraries= -c local_preload_libraries= -c role=none"
_IN_PLACE = b"SET allow_in_place_tablespaces = on"
_ENCODING = b"SET client_encoding = 'UTF8'"
_STRINGS = b"SET standard_conforming_strings = on"
_RESERVED = re.compile(r"pg_|(public|none)$|.*[\udc80-\udcff]", re.DOTALL)
# What a server of another make, without its libraries, locales and predefined roles, can't have.
_NOT_HERE = {sqlstate.UNDEFINED_OBJECT, sqlstate.INVALID_PARAMETER_VALUE}
# A server that is out of something, or going away, says nothing about the backup.
_OUR_FAULT = (sqlstate.CLASS_CONNECTION, sqlstate.CLASS_LIMIT, *sqlstate.LAST_WORDS)
_OF_A_PLACE = {"setting", "label"}
_GRANTORS_SINCE = 16
_ROLE = re.compile("role ")
_PREDEFINED = re.compile(r'role "?pg_')


@dataclass
class Restored:
    """What became of each statement: what this server can't have, and what should have been possible."""

    not_here: list[tuple[GlobalStatement, str]] = field(default_factory=list)
    failed: list[str] = field(default_factory=list)


def rehearse_globals(
    stored: Globals, manifest: Manifest, client: Client, timeout_s: float, pristine: PristineData | None = None
) -> Check:
    """Restore roles and settings on a throwaway server of their own, read them again, and compare."""
    stored, superuser = _portable(stored, client), stored.superuser
    if _RESERVED.match(superuser):
        return not_possible(checklist.GLOBALS, "no throwaway server can have a first role of that name")
    with running_server(client, superuser=superuser, pristine=pristine) as server:
        place = server.on("template1") if manifest.database == server.database else server
        with place.connect() as connection:
            connection.execute("DROP DATABASE IF EXISTS {}", manifest.database)
            if all(s.kind != "database" for s in stored.statements):
                connection.execute("CREATE DATABASE {}", manifest.database)
            with connection.restore_session(timeout_s) as session:
                done = _carry_out(session, stored.statements, superuser)
        again = read_globals(_heedless(server.on(manifest.database)), client, timeout_s)
    without = [statement for statement, _ in done.not_here]
    faults = [*done.failed, *differences(stored, again, without)]
    missing = [f"role {role}, which the dump names, is not in it" for role in missing_roles(manifest, stored)]
    return _judged(stored, faults, [f"{s.subject}: {why}" for s, why in done.not_here], missing)


def _portable(stored: Globals, client: Client) -> Globals:
    """Leave out who granted a membership where it meant less: before version 16, it needed no right to do so."""
    if not major_of(stored.client_version) < _GRANTORS_SINCE <= client.major:
        return stored
    return replace(stored, statements=tuple(map(without_grantor, stored.statements)))


def _heedless(server: Server) -> Server:
    """Return a login that doesn't follow what the role that it logs in as, or the database, has set."""
    return Server(url=SecretStr(conninfo_url({**server.parameters(), "options": _OUR_SESSION})))


def _judged(stored: Globals, faults: list[str], not_here: list[str], missing: list[str]) -> Check:
    counts = {kind: sum(s.kind == kind for s in stored.statements) for kind in ("role", "membership", "setting")}
    what = ", ".join(counted(number, kind) for kind, number in counts.items())
    if faults:
        return compared(checklist.GLOBALS, faults, what)
    places = " and locations of tablespaces" if any(s.kind == "tablespace" for s in stored.statements) else ""
    evidence = f"{what}, and the database's own; passwords{places} are not part of it"
    if odd := [*missing, *(f"not possible here: {text}" for text in not_here)]:
        return warned(checklist.GLOBALS, "; ".join([evidence, *shortened(odd)]))
    return compared(checklist.GLOBALS, [], evidence)


def _carry_out(session: RestoreSession, statements: Sequence[GlobalStatement], superuser: str) -> Restored:
    done = Restored()
    for setting in (_ENCODING, _STRINGS, _IN_PLACE):
        session.execute(setting)
    for statement in statements:
        if statement.kind == "role" and statement.values["role"] == superuser:
            continue
        if _locks_us_out(statement, superuser):
            done.not_here.append((statement, "this server is read as that role"))
            continue
        refusal = _execute(session, statement)
        if refusal and refusal.sqlstate.startswith(_OUR_FAULT):
            raise error_of(refusal)
        if refusal and _cannot_be_here(statement, refusal):
            done.not_here.append((statement, bounded([refusal.message])[0]))
        elif refusal:
            done.failed.append(f"not restored: {statement.subject}: {bounded([refusal.message])[0]}")
    return done


def _locks_us_out(statement: GlobalStatement, superuser: str) -> bool:
    v = statement.values
    ours = statement.kind == "attributes" and v["role"] == superuser
    return ours and ("until" in v or not {"LOGIN", "SUPERUSER"} <= {*v["flags"].split()})


def _execute(session: RestoreSession, statement: GlobalStatement) -> Refusal | None:
    if not statement.as_role:
        return session.execute(_text_here(statement))
    refusal = session.execute(f"SET SESSION AUTHORIZATION {quoted(statement.as_role)}".encode())
    refusal = refusal or session.execute(_text_here(statement))
    session.execute(b"RESET SESSION AUTHORIZATION")
    return refusal


def _text_here(statement: GlobalStatement) -> bytes:
    """Return the statement for a server that has neither the source's disks nor its locales."""
    v = statement.values
    if statement.kind == "tablespace":  # in the server's own folder, which is deleted with it
        text = f"CREATE TABLESPACE {quoted(v['tablespace'])} OWNER {quoted(v['role'])} LOCATION {literal('')}"
    elif statement.kind == "database":
        place = f" TABLESPACE {quoted(v['tablespace'])}" if "tablespace" in v else ""
        text = f"CREATE DATABASE {quoted(v['database'])} TEMPLATE template0{place}"
    else:
        text = statement.text
    return text.encode(errors="surrogateescape")


def _cannot_be_here(statement: GlobalStatement, refusal: Refusal) -> bool:
    """Whether only this server lacks what a statement needs: a library, a locale, or a role of a managed service."""
    if refusal.sqlstate not in _NOT_HERE:
        return False
    if _ROLE.match(refusal.message):
        return bool(_PREDEFINED.match(refusal.message))
    return statement.kind in _OF_A_PLACE or statement.values.get("class") == "PARAMETER"


def not_rehearsed(manifest: Manifest | None, place: str) -> Check | None:
    """Return why roles and settings can't be rehearsed; None if they can."""
    if manifest is None:
        return not_possible(checklist.GLOBALS, "no manifest: another tool made this backup")
    if manifest.globals is None:
        why = bounded([manifest.globals_left_out])[0]
        return not_possible(checklist.GLOBALS, why or "the backup has no roles and settings")
    if place != "sandbox":
        return not_possible(
            checklist.GLOBALS, "they are proven on a throwaway server only: those of a server in use stay as they are"
        )
    return None
