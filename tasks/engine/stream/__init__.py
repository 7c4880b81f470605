"""The way of bytes from pg_dump to the storage."""
