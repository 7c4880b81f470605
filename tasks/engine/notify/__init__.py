"""Decide what is told to people, word it, and remember that it was told."""
