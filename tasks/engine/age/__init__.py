"""The age v1 format (https://age-encryption.org/v1), so that `age -d` opens a backup with none of our code."""
