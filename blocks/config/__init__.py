"""Configuration: read the environment, validate its values, and say what to fix."""

# The name of the plan that the environment describes.
DEFAULT = "default"
