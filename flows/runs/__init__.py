"""What wraps a run: its name, its parameters, when it is skipped, what it logs, and how it ends."""
