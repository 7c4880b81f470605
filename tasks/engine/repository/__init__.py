"""A place for backups: their names, documents and order, and which of them to keep."""
