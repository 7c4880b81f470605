"""S3: the client, its errors, and what each provider's storage must be spoken to with."""
