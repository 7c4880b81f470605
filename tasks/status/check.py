"""Check before the first backup whether one will work: server, rights, client, bucket."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, replace

from blocks.config.age_identity import has_identity
from blocks.config.databases import Databases
from blocks.config.encryption import ALONE
from blocks.config.environment import ignored_tmpdir
from blocks.config.evidence import signing_key
from blocks.config.load import misspelled
from blocks.config.plan import Plan
from blocks.errors import (
    ConfigurationError,
    DatabaseError,
    DumpFailed,
)
from blocks.sql.server import Server, ServerFacts
from tasks.clock import utc_now
from tasks.engine.confinement import holds
from tasks.engine.drill.place import choose_place
from tasks.engine.drill.query_file import load_queries
from tasks.engine.dump.databases import TEMPLATE, Listed, list_databases
from tasks.engine.dump.dependents import what_needs_it
from tasks.engine.dump.left_out import what_is_left_out
from tasks.engine.dump.selection import read_selection
from tasks.engine.dump.warnings import bounded
from tasks.engine.repository.checks import counted
from tasks.engine.repository.keys import Keys
from tasks.engine.repository.mixed import told_of_mixed
from tasks.engine.repository.newest import WHEN_FUTURE, told_of_future
from tasks.engine.repository.omissions import Omissions, in_words
from tasks.engine.repository.whose import folder_of, refusal, sharing
from tasks.engine.servers.nameless import HINT, WITHOUT_NAME, can_have_name
from tasks.engine.servers.programs import Client, match_client
from tasks.engine.wording import human_bytes
from tasks.keys import repository_of
from tasks.status.check_bucket import check_provider, check_storage
from tasks.status.check_places import check_places
from tasks.status.findings import Finding, attempt

# What pg_dump must read but this role cannot. Views of all kinds are not listed: only their definition is dumped.
_CLOSED = """
WITH closed AS (
SELECT n.nspname || '.' || c.relname AS name FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE c.relkind IN ('r', 'p', 'S') AND n.nspname !~ '^pg_' AND n.nspname <> 'information_schema'
AND (row_security_active(c.oid) OR NOT (has_schema_privilege(n.oid, 'USAGE') AND has_table_privilege(c.oid, 'SELECT')))
AND quote_ident(n.nspname) || '.' || quote_ident(c.relname) <> ALL (%s::text[]) AND quote_ident(n.nspname) <> ALL (%s::text[])
UNION ALL
SELECT 'large object ' || m.oid FROM pg_largeobject_metadata m
WHERE current_setting('lo_compat_privileges') = 'off' AND NOT pg_has_role(m.lomowner, 'USAGE') AND NOT EXISTS (
SELECT FROM aclexplode(m.lomacl) a WHERE a.privilege_type = 'SELECT'
AND CASE a.grantee WHEN 0 THEN true ELSE pg_has_role(a.grantee, 'USAGE') END))
SELECT name, count(*) OVER () FROM closed ORDER BY name LIMIT 5"""


_KEY_HERE = "a private key is where backups are made: whoever has this machine can read them all"
_KEY_ELSEWHERE = "give drills a container of their own, and the private key to that one only (docs/encryption.md)"
__all__ = ["Finding", "check_folder", "check_plan", "check_provider", "check_storage", "check_variables"]

_NO_SUCH = "correct BACKUP_DATABASES"


def check_plan(plan: Plan) -> list[Finding]:
    """Check everything that a backup and a drill of this plan will need; leaves no changes behind."""
    if plan.databases:
        return _check_databases(plan, plan.databases)
    findings, facts = _check_source(plan)
    _look_at_drills(findings, plan, facts)
    return [*findings, *check_encryption(plan), *check_places(plan, _check_place)]


def _check_place(plan: Plan) -> list[Finding]:
    """Check one place, and whose backups are in it."""
    stored = check_storage(plan)
    seen = [f.result for f in stored if f.name in ("bucket write", "bucket read", "bucket list")]
    if not plan.databases and all(result == "ok" for result in seen):
        stored += check_folder(plan)
    return [*check_provider(plan.storage), *stored]


def _check_source(plan: Plan) -> tuple[list[Finding], _Server | None]:
    """Check what the dump of one database needs."""
    findings: list[Finding] = []
    facts = attempt(findings, "database", lambda: _server(plan.source))
    if facts:
        client = attempt(findings, "client", lambda: match_client(facts.facts.major))
        left_out = _look_at_selection(findings, plan, client) if client else None
        attempt(findings, "read every table", lambda: _may_read(plan.source, left_out))
        _look_at_left_out(findings, plan.source)
    return findings, facts


def _check_databases(plan: Plan, wanted: Databases) -> list[Finding]:
    """Check each of a server's databases, and what they share once."""
    findings, found = list[Finding](), list[Listed]()

    def listed() -> str:
        with plan.source.connect() as connection:
            found.append(list_databases(connection, wanted))
        return ", ".join(found[0].members) or "none"

    attempt(findings, "databases", listed)
    facts: _Server | None = None
    for one in found:
        closed = [(name, why) for name, why in one.left_alone if why != TEMPLATE]
        findings += [Finding("databases", "warning", f"{name} is left alone: {why}") for name, why in closed]
        findings += [Finding("databases", "error", f"{name}: {why}", _NO_SUCH) for name, why in one.missing]
        findings += [Finding("databases", "warning", f"no database matches {text}", _NO_SUCH) for text in one.unmatched]
        for database in one.members:
            seen, facts = _check_source(plan.member(database))
            findings += [replace(f, name=f"{database}: {f.name}") for f in seen]
    _look_at_drills(findings, plan, facts)
    return [*findings, *check_encryption(plan), *check_places(plan, _check_place)]


def check_folder(plan: Plan) -> list[Finding]:
    """Check whether another database keeps its backups in the folder, and whether a clock was wrong."""
    findings: list[Finding] = []
    repository = repository_of(plan)
    folder = attempt(findings, "folder", lambda: folder_of(plan, backups=repository.backups()))
    if folder is None:
        return findings
    found = Finding("folder", "ok", "no other database's backups are in it")
    if refused := refusal(plan, folder):
        found = Finding("folder", "error", *refused)
    elif shared := sharing(plan, folder):
        found = Finding("folder", "warning", *shared)
    findings = [found]
    if odd := told_of_future(folder.backups, utc_now()):
        findings.append(Finding("clock", "warning", odd, WHEN_FUTURE))
    if mixed := told_of_mixed(folder.own, encrypts=bool(plan.encryption)):
        findings.append(Finding("encryption", "warning", *mixed))
    return findings


def check_encryption(plan: Plan) -> list[Finding]:
    """Check whether backups can be encrypted, and whether one lost key would lose them; contacts no server."""
    findings: list[Finding] = []
    if plan.encryption:
        many = attempt(findings, "encryption", lambda: len(plan.encryption.recipients))
        said = f"to {counted(many or 0, 'key')}"
        found = Finding("encryption", "warning", said, ALONE) if many == 1 else Finding("encryption", "ok", said)
        findings = [found] if many else findings
        if has_identity() and plan.server:
            findings.append(Finding("private keys", "warning", _KEY_HERE, _KEY_ELSEWHERE))
    return findings


def _look_at_selection(findings: list[Finding], plan: Plan, client: Client) -> Omissions | None:
    """Check what the plan leaves out, and whether the rest can be restored without it."""
    name, selection, found = "selection", plan.dump.selection, list[Omissions | None]()

    def look() -> str:
        with plan.source.connect(own_names=True) as connection:
            found.append(read_selection(connection, selection, client.major))
        return f"without {in_words(found[0], selection.options)}" if selection.partial else "whole"

    if attempt(findings, name, look) and found[0]:
        try:
            with plan.source.connect() as connection:
                needing = what_needs_it(connection, found[0], client.major, selection.options)
        except DatabaseError as error:
            findings.append(Finding(name, "warning", error.sentence, error.hint))
            return found[0]
        findings += [Finding(name, "warning", bounded([one.text])[0], one.hint) for one in needing]
    return found[0] if found else None


def _look_at_left_out(findings: list[Finding], source: Server) -> None:
    """Check what pg_dump will silently leave out."""
    name = "left out"
    try:
        found = what_is_left_out(source)
    except DatabaseError as error:
        findings.append(Finding(name, "warning", error.sentence, error.hint))
        return
    findings += [Finding(name, "warning", bounded([one.text])[0], one.hint) for one in found]
    if not found:
        findings.append(Finding(name, "ok", "nothing that should be in it"))


def _look_at_drills(findings: list[Finding], plan: Plan, source: _Server | None) -> None:
    """Check where drills would run now, whether they are allowed to, and whether the user's queries can be read."""
    place = attempt(findings, "drills run in", lambda: choose_place(plan, source.facts.major if source else 0))
    if place and place.server:
        there = place.server
        drill = attempt(findings, "drill server", lambda: _server(there)) if plan.drill.server else source
        if drill:
            findings.append(_may_create(drill.facts))
    elif place:
        findings.append(_confined())
        if not can_have_name():
            findings.append(Finding("sandbox user", "error", f"this user id {WITHOUT_NAME}", HINT))
    attempt(findings, "drill queries", lambda: f"{len(load_queries(plan.drill.queries_file))} of your own")


def _confined() -> Finding:
    """Check whether the system confines a backup's code to the sandbox that it runs in."""
    missing = [f"its {what}" for what in ("files", "network") if what not in holds()]
    if not missing:
        return Finding("sandbox", "ok", "the system confines it to its own files, without a network")
    text = f"the system does not confine {' and '.join(missing)}, and a backup runs code of its database there"
    return Finding("sandbox", "warning", text, "give drills a container of their own (SECURITY.md)")


def check_variables() -> Iterator[Finding]:
    """Report variables that have no effect, and a key file that cannot be used; contacts no server."""
    for name, like in misspelled().items():
        yield Finding("variables", "warning", f"{name} is set, but nothing reads it", f"did you mean {like}?")
    if wanted := ignored_tmpdir():
        where = f"TMPDIR is {wanted}, but temporary files go to {tempfile.gettempdir()}"
        yield Finding("variables", "warning", where, "create that folder, and let this user write to it")
    try:
        signing_key()
    except ConfigurationError as error:
        yield from (Finding("evidence", "error", found.message, found.hint) for found in error.problems)
    try:
        if Keys().at_hand:
            yield Finding("private keys", "ok", ", ".join(one.fingerprint for one in Keys().identities()))
    except ConfigurationError as error:
        yield from (Finding("private keys", "error", found.message, found.hint) for found in error.problems)


@dataclass(frozen=True)
class _Server:
    facts: ServerFacts
    address: str

    def __str__(self) -> str:
        return f"{self.address}: PostgreSQL {self.facts.version}, {human_bytes(self.facts.size_bytes)}"


def _server(server: Server) -> _Server:
    return _Server(server.inspect(), server.address)


def _may_read(server: Server, left_out: Omissions | None) -> str:
    """Find tables and large objects that pg_dump could not read, or not in full because of row security."""
    needless = [n for names in left_out.relations.values() for n in names] if left_out else []
    with server.connect() as connection:
        closed = connection.query(_CLOSED, needless, list(left_out.schemas) if left_out else [])
    if closed:
        some = ", ".join(str(row[0]) for row in closed)
        hint = (
            "GRANT pg_read_all_data TO the role, BYPASSRLS for row security, SELECT for each large object; or use a"
            " role that may read everything"
        )
        raise DumpFailed(f"no right to read {closed[0][1]}: {some}", hint=hint)
    return "the role can"


def _may_create(facts: ServerFacts) -> Finding:
    """Check whether drills can create their database there."""
    if facts.may_create_databases:
        return Finding("create databases", "ok", "drills can use this server")
    hint = "drills need it: ALTER ROLE … CREATEDB, or set VERIFY_DATABASE_URL to a server where a role has it"
    return Finding("create databases", "warning", "permission denied to create database", hint)
