"""Where a store is: what libpq is told, and the schema that holds the tables."""

import re
from dataclasses import dataclass, field
from urllib.parse import parse_qsl, quote, urlencode

import psycopg
from psycopg.conninfo import conninfo_to_dict, make_conninfo

from chatcli.errors import ConfigError

_SCHEMA = re.compile(r"(?!pg_)[a-z_][a-z0-9_]{0,62}")
_DEFAULTS = {
    "application_name": "chatcli",
    "client_encoding": "utf8",
    "connect_timeout": "4",
    # A server that is gone without a word is noticed within a minute, also by a connection at rest.
    "keepalives_idle": "30",
    "keepalives_interval": "10",
    "keepalives_count": "3",
}


@dataclass(frozen=True, slots=True)
class Address:
    """A place for a store; it can be shown, the password can't."""

    parameters: dict[str, str] = field(repr=False)
    """What libpq connects with; what is missing comes from its own environment and files."""
    schema: str

    @classmethod
    def of(cls, url: str) -> "Address":
        """Return the place that ``postgresql://…[?schema=NAME]`` names.

        All but `schema`, which is ``chatcli`` by default, is libpq's own.

        Raises:
            ConfigError: it is no such URL. The message repeats nothing of it.
        """
        place, _, query = url.partition("://")[2].partition("?")
        options = parse_qsl(query, keep_blank_values=True)
        schema = dict(options).get("schema", "chatcli")
        if not _SCHEMA.fullmatch(schema):
            raise ConfigError(
                "the schema of the PostgreSQL store has no usable name",
                hint="use ?schema=NAME with lower-case letters, digits and underscores",
            )
        rest = urlencode([option for option in options if option[0] != "schema"], quote_via=quote)
        try:
            given = conninfo_to_dict(f"postgresql://{place}?{rest}")
            for port in str(given.get("port") or "").split(","):  # libpq looks at it when it connects
                int(port or 0)
        except (psycopg.Error, ValueError):
            raise ConfigError(
                "the URL of the PostgreSQL store can't be understood",
                hint="use postgresql://USER@HOST/DATABASE, special characters as %XX",
            ) from None
        return cls(_DEFAULTS | {name: str(value) for name, value in given.items()}, schema)

    @property
    def conninfo(self) -> str:
        """The parameters in one line, the password among them."""
        return make_conninfo("", **self.parameters)

    def __str__(self) -> str:
        where = self.parameters.get("host") or self.parameters.get("hostaddr") or "the default host"
        database = self.parameters.get("dbname")
        return where if database is None else f"{where}, database {database}"
