"""Configuration: what the environment says, what a value may be, and what to do when it may not."""

# The name of the plan that the environment describes.
DEFAULT = "default"
