"""Fuzz everything that reads outside input: the same few hundred examples each time, or many random ones."""

from __future__ import annotations

import os

from hypothesis import HealthCheck, settings

_SLOW = [HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.filter_too_much]

settings.register_profile("fuzz", derandomize=True, max_examples=250, deadline=None, suppress_health_check=_SLOW)
settings.register_profile("fuzz-long", max_examples=10_000, deadline=None, print_blob=True, suppress_health_check=_SLOW)

# Goes above each @given; tests/fuzz/test_long.py runs all of them with the other profile.
fuzzed = settings.get_profile(os.environ.get("FUZZ_PROFILE", "fuzz"))
