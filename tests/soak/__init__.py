"""Live as long as a service does, in a few minutes."""
