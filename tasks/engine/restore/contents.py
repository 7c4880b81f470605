"""Look for what users made in a database, which must not be dropped unasked."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

from blocks.sql.server import Server
from tasks.engine.wording import visible

# Whatever a new database does not have. Schemas hold most of it; the rest has a place in none. Large objects are counted
# apart, because they can be many; rights and settings are none of it.
_MADE = """
WITH made (class, oid, place) AS (
  SELECT 'pg_class'::regclass, oid, relnamespace FROM pg_class WHERE relkind IN ('r', 'p', 'v', 'm', 'S', 'f', 'c')
  UNION ALL SELECT 'pg_proc'::regclass, oid, pronamespace FROM pg_proc
  UNION ALL SELECT 'pg_type'::regclass, oid, typnamespace FROM pg_type WHERE typtype IN ('d', 'e', 'r')
  UNION ALL SELECT 'pg_operator'::regclass, oid, oprnamespace FROM pg_operator
  UNION ALL SELECT 'pg_opfamily'::regclass, oid, opfnamespace FROM pg_opfamily
  UNION ALL SELECT 'pg_collation'::regclass, oid, collnamespace FROM pg_collation
  UNION ALL SELECT 'pg_conversion'::regclass, oid, connamespace FROM pg_conversion
  UNION ALL SELECT 'pg_ts_config'::regclass, oid, cfgnamespace FROM pg_ts_config
  UNION ALL SELECT 'pg_ts_dict'::regclass, oid, dictnamespace FROM pg_ts_dict
  UNION ALL SELECT 'pg_namespace'::regclass, oid, oid FROM pg_namespace WHERE nspname <> 'public'
  UNION ALL SELECT 'pg_foreign_data_wrapper'::regclass, oid, 0 FROM pg_foreign_data_wrapper
  UNION ALL SELECT 'pg_foreign_server'::regclass, oid, 0 FROM pg_foreign_server
  UNION ALL SELECT 'pg_user_mapping'::regclass, umid, 0 FROM pg_user_mappings
  UNION ALL SELECT 'pg_publication'::regclass, oid, 0 FROM pg_publication
  UNION ALL SELECT 'pg_subscription'::regclass, oid, 0 FROM pg_subscription
    WHERE subdbid = (SELECT oid FROM pg_database WHERE datname = current_database())
  UNION ALL SELECT 'pg_event_trigger'::regclass, oid, 0 FROM pg_event_trigger
  UNION ALL SELECT 'pg_language'::regclass, oid, 0 FROM pg_language WHERE oid >= 16384
  UNION ALL SELECT 'pg_cast'::regclass, oid, 0 FROM pg_cast WHERE oid >= 16384)
SELECT count(*), coalesce((array_agg(pg_describe_object(class, made.oid, 0) ORDER BY class DESC, made.oid))[1:3], '{}')
FROM made LEFT JOIN pg_namespace n ON n.oid = place
WHERE (n.oid IS NULL OR n.nspname !~ '^pg_' AND n.nspname <> 'information_schema')
AND NOT EXISTS (SELECT FROM pg_depend d WHERE d.classid = class AND d.objid = made.oid AND d.deptype = 'e')"""
_LARGE_OBJECTS = "SELECT count(*) FROM pg_largeobject_metadata"
_EXTENSIONS = "SELECT extname FROM pg_extension WHERE extname <> 'plpgsql' ORDER BY 1"


@dataclass(frozen=True)
class Contents:
    """What users made in a database: not the system's, and not an extension's; `examples` describes some of the objects."""

    objects: int
    large_objects: int
    extensions: tuple[str, ...]
    examples: tuple[str, ...]

    def count(self, expected: Collection[str] = ()) -> int:
        """Return how much there is, besides `expected` extensions."""
        return self.objects + self.large_objects + sum(name not in expected for name in self.extensions)

    def __str__(self) -> str:
        some = [*self.examples, *(f"extension {name}" for name in self.extensions)][:3]
        such = f", such as {visible(', '.join(some))}" if some else ""
        return f"{self.count()} tables, functions, large objects and other objects{such}"


def contents_of(database: Server) -> Contents:
    """Count what users made in a database."""
    with database.connect() as connection:
        ((objects, examples),) = connection.query(_MADE)
        ((large,),) = connection.query(_LARGE_OBJECTS)
        extensions = tuple(str(name) for (name,) in connection.query(_EXTENSIONS))
    return Contents(objects, large, extensions, tuple(examples))
