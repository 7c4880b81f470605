"""A round trip to watch: servers of its own, a sample database, and the real flows on them."""
