"""The parts of the long-running service: its environment, its one port with a login, and its runs."""
