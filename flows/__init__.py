"""Backup, prune, restore and restore-drill as Prefect flows, and the command line that runs them."""
