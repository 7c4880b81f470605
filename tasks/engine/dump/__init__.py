"""Running pg_dump, and scanning a dump as it streams by."""
