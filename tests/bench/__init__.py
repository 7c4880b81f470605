"""Benchmark backups and restores against the shell pipelines they replace: `make bench`."""
