"""The proof: comparing a restored copy with what was dumped, and asking it."""
