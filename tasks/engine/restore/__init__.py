"""The way back: reading a backup, psql, and the database that it goes to."""
