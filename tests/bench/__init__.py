"""Measure backups and restores against the shell pipelines that they replace: `make bench`."""
