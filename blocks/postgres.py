"""Keep the address of a PostgreSQL server as a Prefect block."""

from __future__ import annotations

from prefect.blocks.core import Block
from pydantic import Field, SecretStr

from blocks.sql.server import Server


class PostgresServer(Block):
    """A PostgreSQL database, by its URL."""

    _block_type_name = "PostgreSQL Server"
    _block_type_slug = "pg-roundtrip-postgres"
    _description = "A PostgreSQL database that pg-roundtrip backs up, or a server that it rehearses restores on."

    url: SecretStr = Field(
        title="URL", description="postgresql://user:password@host:5432/database, special characters written as %XX."
    )

    @property
    def server(self) -> Server:
        """What the block describes; its URL may be one that cannot be read, for a form takes any."""
        return Server(self.url)
