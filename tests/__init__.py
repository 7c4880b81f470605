"""The test suite: real servers only; a missing one fails the test, never skips it."""
