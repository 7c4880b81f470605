"""Find why a server refused an undamaged backup: its contents, the place of the restore, or what no backup includes."""

from __future__ import annotations

from dataclasses import replace

from blocks.errors import BackupDamaged, PgRoundtripError, RestoreError, RestoreFailed
from blocks.sql import sqlstate
from blocks.sql.server import Server
from tasks.engine.drill.conditions import Conditions, asked_by, explain, names_left_over
from tasks.engine.drill.place import ProvisionedPlace
from tasks.engine.dump.roles import left_over_roles
from tasks.engine.dump.summary import DumpSummary
from tasks.engine.dump.text_settings import monetary_of
from tasks.engine.dump.warnings import bounded
from tasks.engine.repository.manifest import Manifest
from tasks.engine.restore.cluster_objects import missing_cluster_objects
from tasks.engine.restore.reader import BackupReader
from tasks.engine.servers.programs import major_of


def conditions_of(manifest: Manifest | None, copy: Server, seen: DumpSummary) -> Conditions:
    """Return how the copy's environment differs from the source's, as far as the manifest describes the latter."""
    if manifest is None:
        return Conditions(extensions=frozenset(seen.extensions), money_unknown=True, settings_unknown=True)
    facts = copy.inspect()
    with copy.connect() as connection:
        found = connection.query("SELECT name, default_version FROM pg_available_extensions")
    here = {str(name): str(version) for name, version in found}
    versions = [f"{n} {here[n]} instead of {v}" for n, v in manifest.extensions.items() if v and here.get(n, v) != v]
    if facts.major != major_of(manifest.server_version):
        versions.append(f"PostgreSQL {facts.version} instead of {manifest.server_version}")
    wanted = (manifest.collation, manifest.character_type, manifest.locale_provider, manifest.locale)
    has = (facts.collation, facts.character_type, facts.locale_provider, facts.locale)
    return Conditions(
        extensions=frozenset(seen.extensions),
        locale="" if wanted == has else manifest.locale or manifest.collation,
        versions=tuple(versions),
        left_over_roles=tuple(left_over_roles(seen.roles, manifest.role_attributes)),
        roles_known=bool(manifest.role_attributes),
        money_unknown=not monetary_of(manifest),
        monetary=manifest.source_lc_monetary if facts.lc_monetary != manifest.source_lc_monetary else "",
        settings_unknown=not manifest.source_settings,
        settings_left_out=manifest.settings_left_out,
        without=bounded([manifest.without])[0],
    )


def explain_refusal(
    error: RestoreFailed, provisioned: ProvisionedPlace, reader: BackupReader, conditions: Conditions
) -> PgRoundtripError:
    """Return the error that says why a server refused an undamaged backup.

    Don't blame the backup for what an older server does not know or for what lies outside the database.
    """
    if reader.dump_major > major_of(provisioned.version):
        hint = f"set VERIFY_DATABASE_URL to a server of version {reader.dump_major} or newer"
        versions = f"pg_dump {reader.dump_major} wrote it, the server is {provisioned.version}"
        return RestoreError(f"{versions}: {error.context}", hint=hint)
    if role := names_left_over(error.sqlstate, error.context, conditions):
        return _left_over(error, role, known=conditions.roles_known)
    lacking = (
        missing_cluster_objects(provisioned.server, reader.seen)
        if error.sqlstate in sqlstate.UNKNOWN_AROUND_A_DATABASE
        else ""
    )
    if lacking:
        hint = "create them there, or drill in a sandbox, which creates them"
        return RestoreError(
            f"{error.context}; a backup of a database does not include what is missing there: {lacking}", hint=hint
        )
    asked = asked_by(error.context, reader.seen.schema_kept.values())
    if reason := explain(error.sqlstate, error.context, replace(conditions, asked=asked)):
        return RestoreError(f"{error.context}; {reason}", hint="drill where this is the same as on the source")
    if error.sqlstate == sqlstate.OUT_OF_MEMORY:
        error.hint = "raise max_locks_per_transaction on the server, or give it more memory"
    elif conditions.without:
        error.hint = (
            f"the backup was taken without {conditions.without}: its warnings name what needs that; leave it out, too"
        )
    return error


def _left_over(error: RestoreFailed, role: str, *, known: bool) -> PgRoundtripError:
    """Return the error for a dump that names a dropped role by its OID: no server can restore it as it is."""
    cause = f"{error.context}; {role} is the OID of a dropped role, which the privileges of an extension still name"
    hint = "drop and create the extension again on the source, then take a new backup"
    # An older backup does not record the roles, and one of them may really have had such a name.
    return BackupDamaged(cause, hint=hint) if known else RestoreError(cause, hint=hint)
