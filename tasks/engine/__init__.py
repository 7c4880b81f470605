"""What the project exists for: the stream and the proof. Nothing here knows Prefect's orchestration."""
