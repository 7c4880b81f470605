"""Tests on real PostgreSQL and real S3."""
