"""Threads in a schema of a PostgreSQL database, shared by any number of machines."""

from chatcli.stores.postgres.address import Address
from chatcli.stores.postgres.store import PostgresStore

__all__ = ["Address", "PostgresStore"]
