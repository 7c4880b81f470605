"""What is in a backup, read from the bucket without a server."""
