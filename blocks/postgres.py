"""A PostgreSQL server's URL as a Prefect block."""

from __future__ import annotations

from prefect.blocks.core import Block
from pydantic import Field, SecretStr

from blocks.sql.server import Server


class PostgresServer(Block):
    """A PostgreSQL database, identified by its URL."""

    _block_type_name = "PostgreSQL Server"
    _block_type_slug = "pg-roundtrip-postgres"
    _description = "A PostgreSQL database to back up or restore to, or a server for drills."

    url: SecretStr = Field(
        title="URL",
        description="postgresql://user:password@host:5432/database, with special characters written as %XX.",
    )

    @property
    def server(self) -> Server:
        """The server this block describes; its URL may be invalid, because the form accepts any text."""
        return Server(self.url)
