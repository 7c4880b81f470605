"""Say how a plan is doing: its configuration, its health, its backups, its figures. None of it is a run."""
