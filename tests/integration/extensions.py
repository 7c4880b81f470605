"""Databases that use extensions as applications do, to find out whether each survives a round trip.

`python -m tests.integration.extensions` prints the table of docs/compatibility.md.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass, replace

from blocks.errors import PgRoundtripError
from blocks.s3.client import ObjectStore
from flows.demo.services import running_storage
from tasks.engine.drill.place import Place
from tasks.engine.repository.manifest import DrillReport
from tasks.engine.servers.programs import Client, installed_clients
from tasks.engine.servers.sandbox import running_server
from tests.integration.objects import take_backup, told
from tests.integration.sandboxes import rehearsed

_REPLICATING = {"wal_level": "logical", "max_wal_senders": "2", "max_worker_processes": "8"}


@dataclass(frozen=True)
class Use:
    """How an extension is used: the content of a database that needs it."""

    name: str
    script: str
    needs: str = ""  # other extensions, created before it
    major: int = 15
    preloaded: str = ""
    often: bool = False  # tested in every run of the suite

    @property
    def statements(self) -> str:
        """Everything that creates the database."""
        made = "".join(f'CREATE EXTENSION "{name}"; ' for name in (*self.needs.split(), self.name))
        return f"{made}\n{self.script}"


def _column(kind: str, value: str, index: str = "") -> str:
    """Return a table with a column of a type, filled, and optionally indexed."""
    made = f"CREATE TABLE used (id int PRIMARY KEY, v {kind}); INSERT INTO used SELECT i, {value} FROM generate_series(1, 50) i;"
    return made + (f" CREATE INDEX ON used USING {index};" if index else "")


_ROUTES = """
CREATE TABLE roads (id bigint PRIMARY KEY, source bigint, target bigint, cost float8, g geometry(LineString, 4326));
INSERT INTO roads SELECT i, i, i + 1, 1, ST_MakeLine(ST_Point(i, 0, 4326), ST_Point(i + 1, 0, 4326)) FROM generate_series(1, 20) i;
CREATE VIEW ways AS SELECT seq, node FROM pgr_dijkstra('SELECT id, source, target, cost FROM roads', 1, 5);
"""
_PARTMAN = """
CREATE TABLE event (id bigint NOT NULL, at timestamptz NOT NULL DEFAULT now()) PARTITION BY RANGE (at);
SELECT create_parent('public.event', 'at', 'native', 'daily');
INSERT INTO event SELECT i, now() FROM generate_series(1, 100) i;
"""
_PERIODS = """
CREATE TABLE emp (id int, valid_from date NOT NULL, valid_to date NOT NULL, PRIMARY KEY (id, valid_from));
SELECT periods.add_period('emp', 'p', 'valid_from', 'valid_to');
INSERT INTO emp VALUES (1, '2024-01-01', '2025-01-01');
"""
_TOPOLOGY = """
SELECT topology.CreateTopology('city', 4326);
CREATE TABLE parcel (id int PRIMARY KEY); SELECT topology.AddTopoGeometryColumn('city', 'public', 'parcel', 'g', 'POLYGON');
"""
_PGLOGICAL = """
CREATE TABLE kept (id int PRIMARY KEY); INSERT INTO kept SELECT generate_series(1, 10);
SELECT pglogical.create_node(node_name := 'here', dsn := 'host=127.0.0.1 dbname=nowhere');
SELECT pglogical.replication_set_add_table('default', 'kept');
"""
_WRITTEN_IN = "CREATE FUNCTION twice(i int) RETURNS int LANGUAGE {language} IMMUTABLE AS $f$ {body} $f$; {table}"
_TWICE = "CREATE TABLE used (i int, j int GENERATED ALWAYS AS (public.twice(i)) STORED); INSERT INTO used VALUES (1), (2); CREATE INDEX ON used (twice(i));"
_FAR = """
CREATE SERVER far FOREIGN DATA WRAPPER {wrapper} OPTIONS ({options}); CREATE USER MAPPING FOR PUBLIC SERVER far {mapping};
CREATE FOREIGN TABLE elsewhere (id int) SERVER far OPTIONS ({table});
"""

_USES = (
    Use("postgis", _column("geometry(Point, 4326)", "ST_Point(i, i, 4326)", "gist (v)")
        + " INSERT INTO spatial_ref_sys VALUES (990001, 'own', 1, 'x', '+proj=longlat');", often=True),
    Use("postgis_topology", _TOPOLOGY, "postgis"),
    Use("postgis_raster", _column("raster", "ST_MakeEmptyRaster(10, 10, i, i, 1)"), "postgis"),
    Use("postgis_tiger_geocoder", "CREATE TABLE used (i int);", "postgis fuzzystrmatch"),
    Use("address_standardizer_data_us", "CREATE TABLE used (i int);", "address_standardizer"),
    Use("pgrouting", _ROUTES, "postgis"),
    Use("pointcloud", "INSERT INTO pointcloud_formats (pcid, srid, schema) VALUES (1, 4326, NULL); CREATE TABLE used (i int);"),
    Use("pg_cron", "CREATE TABLE used (i int); INSERT INTO used VALUES (1); SELECT cron.schedule('tidy', '0 3 * * *', 'DELETE FROM used');", often=True, preloaded="pg_cron"),
    Use("pg_partman", _PARTMAN, often=True),
    Use("hll", _column("hll", "hll_add(hll_empty(), hll_hash_integer(i))"), often=True),
    Use("ip4r", _column("ip4r", "('10.0.0.' || i)::ip4r", "gist (v)")),
    Use("orafce", "CREATE TABLE used (id int PRIMARY KEY, v oracle.varchar2(20)); INSERT INTO used SELECT i, 'x' || i FROM generate_series(1, 9) i;"
        " CREATE VIEW seen AS SELECT oracle.nvl(id, 0) AS v FROM used;", often=True),
    Use("rum", "CREATE TABLE used (id int PRIMARY KEY, v tsvector); INSERT INTO used SELECT i, to_tsvector('simple', 'word ' || i) FROM generate_series(1, 50) i;"
        " CREATE INDEX ON used USING rum (v rum_tsvector_ops);"),
    Use("pgaudit", "CREATE TABLE used (i int); INSERT INTO used VALUES (1);", preloaded="pgaudit"),
    Use("pglogical", _PGLOGICAL, often=True, preloaded="pglogical"),
    Use("pg_stat_statements", "CREATE TABLE used (i int); CREATE MATERIALIZED VIEW slow AS SELECT queryid, calls FROM pg_stat_statements LIMIT 5;", often=True, preloaded="pg_stat_statements"),
    Use("pg_repack", "CREATE TABLE used (i int PRIMARY KEY); INSERT INTO used VALUES (1);"),
    Use("hypopg", "CREATE TABLE used (i int); INSERT INTO used VALUES (1);"),
    Use("plpgsql_check", "CREATE TABLE used (i int); INSERT INTO used VALUES (1);"),
    Use("unit", _column("unit", "(i || ' m')::unit")),
    Use("semver", _column("semver", "('1.0.' || i)::semver", "btree (v)")),
    Use("prefix", _column("prefix_range", "i::text::prefix_range", "gist (v)")),
    Use("q3c", "CREATE TABLE used (ra float8, dec float8); INSERT INTO used SELECT i, i FROM generate_series(1, 50) i; CREATE INDEX ON used (q3c_ang2ipix(ra, dec));"),
    Use("periods", _PERIODS, "btree_gist"),
    Use("tdigest", "CREATE TABLE used AS SELECT tdigest(i::float8, 100) AS v FROM generate_series(1, 100) i;"),
    Use("pg_similarity", _column("text", "'word' || i")),
    Use("pgtap", "CREATE FUNCTION test_it() RETURNS SETOF text LANGUAGE sql AS $f$ SELECT public.ok(true) $f$; CREATE TABLE used (i int);"),
    Use("pgq", "SELECT pgq.create_queue('mail'); SELECT pgq.insert_event('mail', 'sent', 'x');"),
    Use("jsquery", _column("jsonb", "jsonb_build_object('a', i)", "gin (v jsonb_path_value_ops)")),
    Use("table_log", "CREATE TABLE used (i int PRIMARY KEY, v text); CREATE TABLE used_log (LIKE used, trigger_mode varchar(10), trigger_tuple varchar(5), trigger_changed timestamptz, trigger_id bigserial PRIMARY KEY);"
        " CREATE TRIGGER logged AFTER INSERT OR UPDATE OR DELETE ON used FOR EACH ROW EXECUTE FUNCTION table_log(); INSERT INTO used VALUES (1, 'x');"),
    Use("asn1oid", _column("asn1oid", "('1.2.' || i)::asn1oid", "btree (v)")),
    Use("icu_ext", _column("text", "icu_char_name('x') || i")),
    Use("plpython3u", _WRITTEN_IN.format(language="plpython3u", body="return 2 * i", table=_TWICE), often=True),
    Use("plperl", _WRITTEN_IN.format(language="plperl", body="return 2 * $_[0];", table=_TWICE)),
    Use("hstore_plperl", "CREATE FUNCTION f(h hstore) RETURNS text TRANSFORM FOR TYPE hstore LANGUAGE plperl AS $f$ return ref $_[0]; $f$; CREATE TABLE used (i int);", "plperl hstore"),
    Use("hstore", _column("hstore", "hstore('a', i::text)", "gin (v)")),
    Use("citext", _column("citext", "'Word' || i", "btree (v)")),
    Use("ltree", _column("ltree", "('a.b' || i)::ltree", "gist (v)")),
    Use("pg_trgm", _column("text", "'word ' || i", "gin (v gin_trgm_ops)")),
    Use("uuid-ossp", _column("uuid DEFAULT uuid_generate_v4()", "uuid_generate_v5(uuid_ns_url(), i::text)")),
    Use("pgcrypto", _column("bytea", "digest(i::text, 'sha256')")),
    Use("intarray", _column("int[]", "ARRAY[i, i + 1]", "gist (v gist__int_ops)")),
    Use("cube", _column("cube", "cube(ARRAY[i, i])", "gist (v)")),
    Use("earthdistance", "CREATE TABLE used (lat float8, lon float8); INSERT INTO used SELECT i, i FROM generate_series(1, 50) i; CREATE INDEX ON used USING gist (ll_to_earth(lat, lon));", "cube"),
    Use("isn", _column("isbn13", "'978-0-306-40615-7'::isbn13")),
    Use("seg", _column("seg", "(i || ' .. ' || i + 1)::seg", "gist (v)")),
    Use("bloom", "CREATE TABLE used (a int, b int); INSERT INTO used SELECT i, i FROM generate_series(1, 50) i; CREATE INDEX ON used USING bloom (a, b);"),
    Use("btree_gist", "CREATE TABLE used (room int, during tsrange, EXCLUDE USING gist (room WITH =, during WITH &&)); INSERT INTO used VALUES (1, '[2026-01-01,2026-01-02)');"),
    Use("unaccent", "CREATE TEXT SEARCH CONFIGURATION fr (COPY = french); ALTER TEXT SEARCH CONFIGURATION fr ALTER MAPPING FOR hword, word WITH unaccent, french_stem;"
        " CREATE TABLE used (v text); INSERT INTO used VALUES ('été'); CREATE INDEX ON used USING gin (to_tsvector('fr', v));"),
    Use("dict_int", "CREATE TEXT SEARCH DICTIONARY ints (TEMPLATE = intdict_template, MAXLEN = 4); CREATE TABLE used (i int);"),
    Use("lo", "CREATE TABLE used (id int, v lo); CREATE TRIGGER freed BEFORE UPDATE OR DELETE ON used FOR EACH ROW EXECUTE FUNCTION lo_manage(v); INSERT INTO used VALUES (1, lo_from_bytea(0, 'x'));"),
    Use("tablefunc", "CREATE VIEW crossed AS SELECT * FROM crosstab('SELECT 1, 1, 1') AS t(a int, b int); CREATE TABLE used (i int);"),
    Use("postgres_fdw", _FAR.format(wrapper="postgres_fdw", options="host '127.0.0.1', port '1', dbname 'nowhere'", mapping="OPTIONS (user 'u', password 'p')", table="table_name 't'")),
    Use("file_fdw", "CREATE SERVER files FOREIGN DATA WRAPPER file_fdw; CREATE FOREIGN TABLE words (line text) SERVER files OPTIONS (filename '/etc/hostname');"),
    Use("tcn", "CREATE TABLE used (i int PRIMARY KEY); CREATE TRIGGER told AFTER INSERT ON used FOR EACH ROW EXECUTE FUNCTION triggered_change_notification(); INSERT INTO used VALUES (1);"),
    Use("vector", _column("vector(3)", "format('[%s,1,2]', i)::vector", "hnsw (v vector_l2_ops)"), major=16, often=True),
    Use("vector", _column("vector(3)", "format('[%s,1,2]', i)::vector", "ivfflat (v vector_l2_ops)"), major=18),
)  # fmt: skip
# PostgreSQL's own, which the servers for tests of another version have.
_ALSO_17 = [
    "hstore",
    "citext",
    "ltree",
    "pg_trgm",
    "pgcrypto",
    "intarray",
    "cube",
    "earthdistance",
    "isn",
    "seg",
    "bloom",
    "btree_gist",
    "unaccent",
    "dict_int",
    "lo",
    "tablefunc",
    "postgres_fdw",
    "file_fdw",
    "tcn",
    "pg_stat_statements",
]
USES = (*_USES, *(replace(use, major=17, often=False) for use in _USES if use.name in _ALSO_17))


def drilled(use: Use, storage: ObjectStore, client: Client) -> DrillReport:
    """Create the database on a server with the extension preloaded, back it up, and drill the backup elsewhere."""
    settings = _REPLICATING | ({"shared_preload_libraries": use.preloaded} if use.preloaded else {})
    settings |= {"cron.database_name": "used", "cron.launch_active_jobs": "off"} if use.preloaded == "pg_cron" else {}
    with running_server(client, settings=settings) as server:
        told(server, "CREATE DATABASE used")
        # Some scripts work only in a single transaction, others only in several.
        told(server.on("used"), *(s for s in use.statements.split(";\n") if s.strip()))
        take_backup(storage, server.on("used"), client)
    return rehearsed(storage, Place("sandbox", client=client))


def row(use: Use, report: DrillReport) -> str:
    """Return the extension's row in the table of docs/compatibility.md."""
    why = report.cause.replace("\n", " ").replace("|", "\\|")[:200]
    return f"| `{use.name}` | {use.major} | {report.verdict.value} | {why} |"


def main() -> None:
    """Print the table."""
    clients = {c.major: c for c in installed_clients() if c.has_server}
    wanted = sys.argv[1:]
    chosen = [u for u in USES if not wanted or u.name in wanted or f"{u.name}-{u.major}" in wanted]
    with running_storage() as storage:
        for number, use in enumerate(chosen):
            try:
                print(row(use, drilled(use, storage.store(f"extension/{number}"), clients[use.major])), flush=True)
            except PgRoundtripError as error:
                print(f"| `{use.name}` | {use.major} | not made: {error} |", flush=True)


if __name__ == "__main__":
    main()
