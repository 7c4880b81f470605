"""A place that keeps backups: their names, documents and order, and which of them are kept."""
