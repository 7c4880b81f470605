"""Restoring: reading a backup, feeding psql, and the target database."""
