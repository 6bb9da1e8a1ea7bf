"""Known trouble with the store: text that travels in the clear, a server that loses what it acknowledged."""

from chatcli.stores.postgres.connection import Database

_SETTINGS = """
SELECT current_setting('fsync') AS fsync, current_setting('full_page_writes') AS full_page_writes,
  inet_client_addr() IS NULL OR host(inet_client_addr()) IN ('127.0.0.1', '::1') AS near,
  coalesce((SELECT ssl FROM pg_stat_ssl WHERE pid = pg_backend_pid()), false) AS secure
"""


async def find_trouble(database: Database) -> tuple[str, ...]:
    """Open the store, and return what is worth a warning, one sentence each."""
    (row,) = await database.rows(_SETTINGS, {})
    trouble = []
    if row["fsync"] == "off" or row["full_page_writes"] == "off":
        trouble.append("The server may lose what it acknowledged: fsync or full_page_writes is off.")
    if not (row["near"] or row["secure"]):
        trouble.append("The connection to the server is not encrypted; sslmode=require makes it so.")
    return tuple(trouble)
