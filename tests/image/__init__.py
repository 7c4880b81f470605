"""Tests of the container image; they need a Docker engine, so `make image-test` runs them and `make test` does not."""
