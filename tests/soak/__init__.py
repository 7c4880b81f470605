"""Live through a service's lifetime in a few minutes."""
