"""What all runs share: names, parameters, when to skip, what to log, and how to end."""
