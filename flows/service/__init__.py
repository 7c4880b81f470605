"""What the long-running process is made of: the environment it needs, its one port with a login, and its rounds."""
