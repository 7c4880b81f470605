"""A folder on a disk, as a place for backups."""
