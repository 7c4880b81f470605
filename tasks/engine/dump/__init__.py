"""What pg_dump is told, and what a dump says as it goes by."""
