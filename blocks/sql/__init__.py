"""SQL: connections, database URLs, and what the server's errors mean."""
