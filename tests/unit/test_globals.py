"""Statements about roles and settings are read exactly as PostgreSQL's programs write them, and compared by meaning."""

from __future__ import annotations

import gzip
import hashlib
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from blocks.errors import BackupDamaged
from tasks.engine.drill.globals_compared import differences
from tasks.engine.dump.global_statements import (
    NotAllowed,
    as_text,
    literal,
    quoted,
    read_statements,
    statements_of_database,
    without_grantor,
)
from tasks.engine.dump.globals import Globals, packed
from tasks.engine.repository.repository import Repository
from tasks.engine.restore.companion import unpacked
from tasks.engine.restore.globals_plan import Existing, Step, piecemeal, plan_globals, plan_own
from tests.memory_store import MemoryStore
from tests.unit.test_catalog import manifest

CHARACTERS = st.characters(codec="utf-8", exclude_characters="\x00")
NAMES = st.text(CHARACTERS, min_size=1, max_size=20)
WRITTEN = """--
-- PostgreSQL database cluster dump
--

\\restrict abc123

SET default_transaction_read_only = off;

SET client_encoding = 'UTF8';
SET standard_conforming_strings = on;

CREATE ROLE app;
ALTER ROLE app WITH NOSUPERUSER INHERIT NOCREATEROLE CREATEDB LOGIN NOREPLICATION NOBYPASSRLS CONNECTION LIMIT 3 VALID UNTIL '2030-01-01 00:00:00+00';
CREATE ROLE "select";
ALTER ROLE "select" WITH SUPERUSER NOINHERIT NOCREATEROLE NOCREATEDB NOLOGIN NOREPLICATION NOBYPASSRLS;
COMMENT ON ROLE app IS E'it''s a \\\\ comment
-- CREATE ROLE x;';
ALTER ROLE app SET search_path TO 'a', 'B b', 'c''d';
ALTER ROLE app SET "my.thing" TO E'x\\\\y';
GRANT app TO "select" WITH ADMIN OPTION, INHERIT TRUE GRANTED BY postgres;
GRANT SET,ALTER SYSTEM ON PARAMETER log_statement TO app WITH GRANT OPTION;
CREATE TABLESPACE "ts 1" OWNER app LOCATION '/mnt/ssd';
ALTER TABLESPACE "ts 1" SET (random_page_cost=1.5, seq_page_cost='2');
CREATE DATABASE "d b" WITH TEMPLATE = template0 ENCODING = 'UTF8' LOCALE_PROVIDER = icu LOCALE = 'C' ICU_LOCALE = 'de-DE' TABLESPACE = "ts 1";
ALTER DATABASE "d b" OWNER TO app;
ALTER DATABASE "d b" CONNECTION LIMIT = 7;
ALTER DATABASE "d b" SET work_mem TO '6MB';
ALTER ROLE app IN DATABASE "d b" SET work_mem TO '7MB';
COMMENT ON DATABASE "d b" IS 'x';
SECURITY LABEL FOR selinux ON DATABASE "d b" IS 'system_u';
REVOKE CONNECT,TEMPORARY ON DATABASE "d b" FROM PUBLIC;
SET SESSION AUTHORIZATION app;
GRANT CONNECT ON DATABASE "d b" TO "select";
RESET SESSION AUTHORIZATION;

\\unrestrict abc123
"""


def read(text: str, database: str = "d b") -> Globals:
    return Globals(tuple(read_statements(text.encode(), database)), "postgres")


def test_what_the_programs_write_is_read() -> None:
    """Every form is recognised, with the names and values as the server reads them."""
    found = read(WRITTEN).statements
    assert len(found) == 20
    values = {s.subject: s.values for s in found}
    assert values["setting search_path of role app"]["value"] == "'a', 'B b', 'c''d'"
    assert values["setting my.thing of role app"]["value"] == "'x\\y'"
    assert values["comment on role app"]["value"] == "'it''s a \\ comment\n-- CREATE ROLE x;'"
    assert values["the database's tablespace"]["tablespace"] == "ts 1"
    assert found[-1].as_role == "app"
    assert [s.kind for s in found if s.of_database][:3] == ["database", "owner", "limit"]


REFUSED = [
    "ALTER ROLE app PASSWORD 'x';",
    "ALTER ROLE app WITH LOGIN PASSWORD 'SCRAM-SHA-256$4096:x';",
    "ALTER ROLE ALL SET work_mem TO '1MB';",
    "ALTER ROLE all SET work_mem TO '1MB';",
    "ALTER ROLE current_user SET work_mem TO '1MB';",
    "ALTER SYSTEM SET archive_command TO 'rm -rf /';",
    "ALTER ROLE app SET work_mem TO current_setting('x');",
    "ALTER ROLE app SET work_mem FROM CURRENT;",
    "CREATE ROLE app SUPERUSER;",
    "CREATE ROLE app; DROP DATABASE x;",
    "DROP ROLE app;",
    "REASSIGN OWNED BY app TO postgres;",
    "ALTER DATABASE other SET work_mem TO '1MB';",
    "COMMENT ON DATABASE other IS 'x';",
    "GRANT ALL ON DATABASE other TO app;",
    'ALTER DATABASE "d b" RENAME TO x;',
    'ALTER DATABASE "d b" SET TABLESPACE x;',
    'CREATE DATABASE "d b" WITH TEMPLATE = secrets;',
    "GRANT SELECT ON TABLE t TO app;",
    "CREATE FUNCTION f() RETURNS int LANGUAGE sql AS 'SELECT 1';",
    "DO $$ BEGIN END $$;",
    "COPY t FROM PROGRAM 'x';",
    "SELECT 1;",
    "SET ROLE app;",
    "\\! ls",
    "\\connect other",
    "CREATE ROLE app",
    "CREATE ROLE 'app';",
    "COMMENT ON ROLE app IS E'\\047';",
    "COMMENT ON ROLE app IS 'a' 'b';",
    "CREATE TABLESPACE t OWNER app LOCATION '/x' WITH (a = 1);",
    'GRANT app TO "x" GRANTED BY CURRENT_USER;',
    'CREATE ROLE U&"app";',
]  # fmt: skip


@pytest.mark.parametrize("statement", REFUSED)
def test_everything_else_is_refused(statement: str) -> None:
    """A statement that the programs don't write, or not so, is refused, wherever it stands."""
    with pytest.raises(NotAllowed):
        read(f"CREATE ROLE app;\n{statement}\n")


def test_a_refusal_names_no_values() -> None:
    """A refused statement may hold a password: its values are not in the message."""
    with pytest.raises(NotAllowed) as refusal:
        read("ALTER ROLE app PASSWORD 'geheim';")
    assert "geheim" not in str(refusal.value)
    assert "ALTER ROLE app PASSWORD '…'" in str(refusal.value)


def test_of_a_dump_only_the_database_counts() -> None:
    """pg_dump --create also prints extensions and the like, which come with the dump."""
    text = 'CREATE EXTENSION x;\nCREATE DATABASE "d b" WITH TEMPLATE = template0;\nCOMMENT ON EXTENSION x IS \'ALTER DATABASE "d b" OWNER TO x;\';\nALTER DATABASE "d b" OWNER TO app;\n'
    assert [s.kind for s in statements_of_database(text.encode(), "d b")] == ["database", "owner"]


@given(NAMES, NAMES, NAMES, st.lists(st.text(CHARACTERS)))
def test_any_name_and_value_survives(role: str, group: str, parameter: str, items: list[str]) -> None:
    """Whatever is in a name or a value, it is one statement, and is read back as it was."""
    value = ", ".join(map(literal, items or [""]))
    text = f"CREATE ROLE {quoted(role)};\nALTER ROLE {quoted(role)} SET {quoted(parameter)} TO {value};\nGRANT {quoted(group)} TO {quoted(role)};\n"
    found = read(text)
    assert as_text(found.statements) == text
    assert [s.kind for s in found.statements] == ["role", "setting", "membership"]
    assert found.statements[1].values == {"role": role, "parameter": parameter, "value": value}
    assert found.statements[2].values == {"role": role, "group": group}
    assert differences(found, read(text)) == []


SNIPPETS = st.sampled_from(
    ["'", '"', ";", "\\", "--", "/*", "*/", "$$", "E'", "(", ")", "\n", "U&", " ", "DROP DATABASE x;", "\\! ls\n"]
)


@given(st.integers(0, len(WRITTEN)), st.integers(0, 9), st.one_of(SNIPPETS, st.text(CHARACTERS, max_size=5)))
def test_whatever_is_changed_is_refused_or_read_in_one_way(at: int, cut: int, put: str) -> None:
    """After any edit, the text is refused, or each statement is of a known form and reads the same when written again."""
    try:
        found = read(WRITTEN[:at] + put + WRITTEN[at + cut :])
    except NotAllowed:
        return
    assert read(as_text(found.statements)) == found


@given(st.permutations(read(WRITTEN).statements))
def test_order_means_nothing(shuffled: list) -> None:  # type: ignore[type-arg]
    """Statements in another order mean the same."""
    assert differences(read(WRITTEN), Globals(tuple(shuffled), "postgres")) == []


@given(st.integers(0, len(read(WRITTEN).statements) - 1))
def test_a_lost_statement_is_named(at: int) -> None:
    """Any one that is missing is a difference, by name, from either side."""
    whole = read(WRITTEN)
    rest = replace(whole, statements=(*whole.statements[:at], *whole.statements[at + 1 :]))
    lost = whole.statements[at]
    assert differences(whole, rest) == [f"not restored: {lost.subject}"]
    assert differences(rest, whole) == [f"not in the backup: {lost.subject}"]
    assert differences(whole, rest, without=[lost]) == []


@pytest.mark.parametrize(
    ("before", "after", "named"),
    [
        ("ALTER DATABASE \"d b\" SET work_mem TO '6MB'", "ALTER DATABASE \"d b\" SET work_mem TO '5MB'", "changed: setting work_mem of the database"),
        ("OWNER TO app", 'OWNER TO "select"', "changed: owner of the database"),
        ("CREATEDB LOGIN", "CREATEDB NOLOGIN", "changed: attributes of role app"),
        ("'2030-01-01", "'2031-01-01", "changed: attributes of role app"),
        ("INHERIT TRUE GRANTED", "INHERIT FALSE GRANTED", "changed: membership of role select in app"),
        ("LIMIT = 7", "LIMIT = 8", "changed: connection limit of the database"),
        ("random_page_cost=1.5", "random_page_cost=1.6", "changed: options of tablespace ts 1"),
        ('TABLESPACE = "ts 1"', "TABLESPACE = x", "changed: the database's tablespace"),
        ("ROLE app IS E'it", "ROLE app IS E'IT", "changed: comment on role app"),
    ],
)  # fmt: skip
def test_a_changed_statement_is_named(before: str, after: str, named: str) -> None:
    """What it is about is the same, and what it says is not."""
    assert before in WRITTEN
    assert differences(read(WRITTEN), read(WRITTEN.replace(before, after, 1))) == [named]


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("LOCATION '/mnt/ssd'", "LOCATION ''"),
        ("ENCODING = 'UTF8' LOCALE_PROVIDER = icu LOCALE = 'C' ICU_LOCALE = 'de-DE'", "ENCODING = 'UTF8' LOCALE_PROVIDER = libc LOCALE = 'C'"),
        ("E'x\\\\y'", "'x\\y'"),
        ("seq_page_cost='2'", "seq_page_cost=2"),
        ("abc123", "xyz789"),
        (" WITH ADMIN OPTION, INHERIT TRUE GRANTED BY postgres", " WITH INHERIT TRUE, ADMIN TRUE"),
    ],
)  # fmt: skip
def test_other_words_mean_the_same(before: str, after: str) -> None:
    """What differs only between servers, versions or spellings is no difference."""
    assert before in WRITTEN
    assert differences(read(WRITTEN), read(WRITTEN.replace(before, after))) == []


def test_a_membership_without_options_inherits_as_its_role_does() -> None:
    """Versions before 16 don't say whether a membership inherits; newer ones take it from the member."""
    roles = "CREATE ROLE g;\nCREATE ROLE m;\nALTER ROLE m WITH NOSUPERUSER NOINHERIT;\n"
    old = read(f"{roles}GRANT g TO m;\n")
    assert differences(old, read(f"{roles}GRANT g TO m WITH INHERIT FALSE GRANTED BY postgres;\n")) == []
    assert differences(old, read(f"{roles}GRANT g TO m WITH INHERIT TRUE GRANTED BY postgres;\n")) != []


def test_a_companion_is_the_same_each_time() -> None:
    """Its bytes depend on nothing but the statements, and it can be read again."""
    made = packed(read(WRITTEN), "backup_20240207_143022.globals.sql.gz", "d b\n\\! ls")
    assert made == packed(read(WRITTEN), "backup_20240207_143022.globals.sql.gz", "d b\n\\! ls")
    counts = (made.record.roles, made.record.memberships, made.record.tablespaces, made.record.settings)
    assert counts == (2, 1, 1, 4)


TRAILERS = {
    "a member more": gzip.compress(b"CREATE ROLE stowaway;\n"),
    "an empty member": gzip.compress(b""),
    "rubbish": b"\0" * 9,
    "an end that is cut off": None,
}


@pytest.mark.parametrize("trailer", TRAILERS)
def test_nothing_is_behind_the_end_of_a_companion(trailer: str) -> None:
    """Gunzip would go on with a second member, which nobody has looked at: it is refused even if the manifest says the same."""
    name = "backup_20240207_143022"
    made = packed(read(WRITTEN), f"{name}.globals.sql.gz", "d b")
    behind = TRAILERS[trailer]
    data = made.data[:-8] if behind is None else made.data + behind
    forged = made.record.model_copy(update={"object_bytes": len(data), "sha256": hashlib.sha256(data).hexdigest()})
    repository = Repository(MemoryStore())
    repository.store.put(repository.store.key(forged.file), data)
    told = manifest(name, database="d b", globals=forged)
    with pytest.raises(BackupDamaged, match="has not the size that the manifest says"):
        unpacked(repository, told)
    repository.store.put(repository.store.key(forged.file), made.data)
    assert unpacked(repository, told.model_copy(update={"globals": made.record})) == read(WRITTEN)


# --- the plan of a restore ----------------------------------------------------------------------------------------


def planned(there: Existing) -> dict[str, Step]:
    return {s.statement.subject: s for s in plan_globals(read(WRITTEN).statements, there)}


def test_on_a_new_server_all_is_created() -> None:
    """Nothing is kept where nothing is."""
    assert {s.action for s in planned(Existing(frozenset({"postgres"}))).values()} == {"create"}


def test_on_the_same_server_nothing_is_created() -> None:
    """A plan for a server that has it all creates nothing: it can be repeated."""
    there = Existing(frozenset({"app", "select", "postgres"}), frozenset({"ts 1"}))
    assert {s.action for s in planned(there).values()} == {"keep"}


@given(st.sets(st.sampled_from(["app", "select"])), st.booleans(), st.booleans())
def test_nothing_that_exists_is_changed(roles: set[str], superuser: bool, creates: bool) -> None:
    """Whatever is there: no statement about it alone is carried out, and a membership needs a new role."""
    there = Existing(frozenset(roles | {"postgres"}), frozenset({"ts 1"}), superuser, creates or superuser)
    for step in plan_globals(read(WRITTEN).statements, there):
        v = step.statement.values
        named = {v[name] for name in ("role", "group", "grantee", "object") if name in v} & {"app", "select"}
        if step.action == "create":
            assert named - roles, step
        if step.statement.kind in ("tablespace", "options"):
            assert step.action == "keep"


def test_what_only_a_superuser_can_do_is_said() -> None:
    """The plan says beforehand what the server will refuse."""
    steps = planned(Existing(superuser=False))
    assert steps["tablespace ts 1"].action == "cannot"
    assert (
        steps["attributes of role select"].why
        == "with SUPERUSER; we are no superuser, and may not be allowed SUPERUSER"
    )
    assert steps["attributes of role app"].why == "with CREATEDB; it has no password yet"
    assert {s.action for s in planned(Existing(superuser=False, may_create_roles=False)).values()} == {"cannot"}


def test_attributes_are_given_one_by_one() -> None:
    """A privilege that is refused costs no other one, and what a new role has not anyway isn't mentioned."""
    (wanted,) = (s for s in read(WRITTEN).statements if s.subject == "attributes of role app")
    assert list(piecemeal(wanted)) == [
        ("", "ALTER ROLE \"app\" WITH INHERIT LOGIN CONNECTION LIMIT 3 VALID UNTIL '2030-01-01 00:00:00+00';"),
        ("CREATEDB", 'ALTER ROLE "app" WITH CREATEDB;'),
    ]


def test_a_database_under_another_name_gets_what_it_had() -> None:
    """The statements about the dumped database are about the restored one; one that existed gets only what it lacks."""
    own = plan_own(read(WRITTEN).statements, 'new "one"', Existing())
    assert [s.statement.text for s in own] == [
        'ALTER DATABASE "new ""one""" OWNER TO "app";',
        'ALTER DATABASE "new ""one""" CONNECTION LIMIT = 7;',
        'ALTER DATABASE "new ""one""" SET "work_mem" TO \'6MB\';',
        'ALTER ROLE "app" IN DATABASE "new ""one""" SET "work_mem" TO \'7MB\';',
        'COMMENT ON DATABASE "new ""one""" IS \'x\';',
        'SECURITY LABEL FOR "selinux" ON DATABASE "new ""one""" IS \'system_u\';',
        'REVOKE CONNECT,TEMPORARY ON DATABASE "new ""one""" FROM PUBLIC;',
        'GRANT CONNECT ON DATABASE "new ""one""" TO "select";',
    ]
    there = Existing(own=frozenset({"setting  work_mem"}))
    kept = {s.statement.subject: s.action for s in plan_own(read(WRITTEN).statements, "d b", there)}
    assert [subject for subject, action in kept.items() if action == "create"] == [
        "setting work_mem of role app in it", "comment on database d b"
    ]  # fmt: skip


def actions(text: str, *there: str) -> dict[str, tuple[str, str]]:
    """What is planned for statements on a server that has some roles: the action and why, by subject."""
    steps = plan_globals(read(text).statements, Existing(frozenset({"postgres", *there})))
    return {s.statement.subject: (s.action, s.why) for s in steps}


def test_a_role_that_exists_gets_no_new_group() -> None:
    """A forged companion makes nobody who can log in a member of a superuser that it brings along."""
    text = (
        "CREATE ROLE ops;\nALTER ROLE ops WITH SUPERUSER;\nGRANT ops TO app;\nGRANT pg_execute_server_program TO ops;\n"
    )
    found = actions(text, "app", "pg_execute_server_program")
    assert found["membership of role app in ops"][0] == "keep"
    assert found["membership of role ops in pg_execute_server_program"] == (
        "create", "pg_execute_server_program is a powerful role",
    )  # fmt: skip


def test_a_role_may_be_named_like_everyone() -> None:
    """A right of the role "PUBLIC" is none of everyone's, and everyone is no new role."""
    everyone = 'CREATE ROLE "PUBLIC";\nGRANT SET ON PARAMETER archive_command TO PUBLIC;\n'
    assert actions(everyone)["grant SET on parameter archive_command PUBLIC"][0] == "keep"
    text = 'GRANT CONNECT ON DATABASE "d b" TO "PUBLIC";\n'
    (step,) = plan_own(read(text).statements, "new", Existing())
    assert step.statement.text == 'GRANT CONNECT ON DATABASE "new" TO "PUBLIC";'


def test_a_grantor_of_an_odd_name_is_left_out() -> None:
    """A name may look like the clause that names it."""
    (made,) = read('GRANT grp TO ninf GRANTED BY "a GRANTED BY b";\n').statements
    assert without_grantor(made).text == "GRANT grp TO ninf;"
