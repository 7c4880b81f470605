"""The path of the bytes from pg_dump to the storage."""
