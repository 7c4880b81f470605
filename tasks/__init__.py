"""The steps of the flows: thin Prefect tasks over the engine."""
