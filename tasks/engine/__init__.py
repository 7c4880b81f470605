"""The core: streaming backups and proving them. Nothing here depends on Prefect."""
