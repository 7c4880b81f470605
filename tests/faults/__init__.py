"""Real faults injected while the real flows run against real servers; docs/reliability.md has the table of them."""
