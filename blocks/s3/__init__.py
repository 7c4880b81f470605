"""S3: the client, its errors, and the differences between providers."""
