"""Where threads are kept: one contract (`base`), one module a kind of store, chosen by a URL's scheme."""

from typing import TYPE_CHECKING

from chatcli.errors import ConfigError

if TYPE_CHECKING:
    from chatcli.config import Settings
    from chatcli.stores.base import ThreadStore

_FORMS = (
    "use sqlite:///PATH (an absolute PATH makes it sqlite:////…), postgresql://USER@HOST/DATABASE,"
    " s3://BUCKET/PREFIX or memory://"
)


def open_store(url: str, *, threaded: bool = False, settings: "Settings | None" = None) -> "ThreadStore":
    """Return the store behind `url`; nothing is read or written before its first call.

    With `threaded` the store works on a thread of its own and never blocks an event loop. Without
    it the calls block, and their coroutines never suspend: they need no event loop. A store on a
    network waits in the event loop either way. `settings` may hold what its URL does not, such as
    credentials.

    Raises:
        ConfigError: the URL names no store of this version. The message never holds the URL
            beyond its scheme, since what follows may hold a password.
    """
    scheme, separator, _ = url.partition("://")
    if not separator:
        raise ConfigError("the store is not given as a URL", hint=_FORMS)
    match scheme.lower():
        case "sqlite":
            from chatcli.stores.sqlite import SqliteStore, path_of
            from chatcli.stores.sqlite.runners import Inline, Threaded

            return SqliteStore(path_of(url), runner=Threaded() if threaded else Inline())
        case "memory":
            from chatcli.stores.memory import MemoryStore

            return MemoryStore()
        case "postgresql" | "postgres":
            return _open_postgres(url, settings)
        case "s3":
            from chatcli.stores.s3 import S3Store, location_of

            return S3Store(location_of(url), settings=settings)
        case _:
            raise ConfigError(f"there is no store for {scheme[:20]!r} URLs", hint=_FORMS)


def _open_postgres(url: str, settings: "Settings | None") -> "ThreadStore":
    try:
        from chatcli.stores.postgres import Address, PostgresStore
    except ImportError as error:  # psycopg, or the C library that it needs
        raise ConfigError(
            "the PostgreSQL store needs the package psycopg", hint="pip install 'chatcli[postgres]'"
        ) from error
    return PostgresStore(Address.of(url), settings=settings)
