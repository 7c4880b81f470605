"""SQL: connections, their addresses, and what the server's errors mean."""
