"""Faults that really happen, while the real flows run against real servers; docs/reliability.md has the table of them."""
