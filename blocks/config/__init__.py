"""Configuration: what the environment says, what a value may be, and what to do when it may not."""
