"""The status of a plan: its configuration, health, backups and metrics. None of this is a run."""
