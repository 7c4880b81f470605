"""Tests state promises; they use real servers and fail, never skip, when one is missing."""
