"""The proof: comparing a restored copy with what was dumped, and querying it."""
