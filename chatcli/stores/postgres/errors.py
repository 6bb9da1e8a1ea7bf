"""What PostgreSQL's failures mean to a user. Nothing of the server's own words is passed on."""

import psycopg

from chatcli.errors import (
    ChatcliError,
    ConfigError,
    InvalidText,
    NotSaved,
    StoreCorrupt,
    StoreDenied,
    StoreFull,
    StoreUnavailable,
)

UNKNOWN_OBJECTS = frozenset({"3F000", "42P01", "42703", "42883"})
"""No such schema, table, column or function: the tables are not those that this program knows."""

_PASSING = frozenset({"40001", "40P01"})
"""The server undid the transaction, and it may succeed when tried again: serialization, deadlock."""

_REFUSED = (
    "authentication failed",
    "no password supplied",
    "pg_hba.conf",
    "permission denied",
    "not permitted to log in",
)


_STARTING = ("is starting up", "in recovery mode", "not yet accepting connections")
_HUNG_UP = "closed the connection unexpectedly"
_HANG_UPS = 3


def is_starting(error: psycopg.Error, attempt: int) -> bool:
    """Return whether a server refused a connection only because it is not ready yet.

    One that is about to find out that it must recover hangs up; whoever always does is not waited for.
    libpq tells no SQLSTATE here; where the server speaks another language, nobody waits for it either.
    """
    said = str(error)
    if _HUNG_UP in said:
        return attempt < _HANG_UPS
    return "the database system" in said and any(words in said for words in _STARTING)


def is_passing(error: psycopg.Error) -> bool:
    """Return whether the same statement may succeed at once: it surely had no effect."""
    return error.sqlstate in _PASSING


def translate(error: psycopg.Error, place: str) -> ChatcliError:
    """Return the error of ours that the failure of a statement stands for."""
    state = error.sqlstate or ""
    if state == "53100":
        return StoreFull(
            f"there is no room left in the store at {place}", hint="free some space on the server"
        )
    if state == "42501" or state.startswith("28"):
        return denied(place)
    if state == "25006":
        return NotSaved(
            f"the store at {place} can only be read",
            hint="name the primary server, or another store with --store; --no-save stores nothing",
        )
    if state in {"42P07", "42P06", "42723", "42710"}:
        return StoreCorrupt(
            "the store's schema belongs to another program; it was not touched",
            hint="name another one with ?schema=NAME",
        )
    if state.startswith("XX"):
        return StoreCorrupt(f"the store at {place} is damaged", hint="restore it from a backup")
    if state in {"57014", "55P03"}:
        return too_slow(place)
    if state in {"22021", "22P05"} or (not state and isinstance(error, psycopg.DataError)):
        return InvalidText(
            "the text holds a character that the store can't keep", hint="remove NUL characters"
        )
    if isinstance(error, psycopg.OperationalError) and not state.startswith("54"):
        return unavailable(place)
    return StoreUnavailable(
        f"the store at {place} failed with SQLSTATE {state or 'unknown'}",
        hint="the server's log says more; chatcli info --check looks into it",
    )


def translate_connecting(error: psycopg.Error, place: str) -> ChatcliError:
    """Return the error of ours for a connection that could not be made.

    libpq tells no SQLSTATE here. What it says is looked at in English; another language of the
    server only makes the error less exact.
    """
    said = str(error)
    if (error.pgconn is not None and error.pgconn.needs_password) or any(word in said for word in _REFUSED):
        return denied(place)
    if "FATAL" in said and "does not exist" in said:
        if 'role "' in said:
            return denied(place)
        return ConfigError(
            f"there is no such database: {place}", hint="create it, or correct the store's URL"
        )
    if "SSL" in said or "certificate" in said:
        return StoreUnavailable(
            f"no secure connection to the store at {place} could be made",
            hint="check sslmode and sslrootcert in the store's URL",
        )
    return unavailable(place)


def denied(place: str) -> StoreDenied:
    """Return the error for credentials that are wrong, missing, or not enough."""
    return StoreDenied(
        f"the store at {place} refused the user or the password, or does not allow this",
        hint="check the store's URL or PGUSER and PGPASSWORD; the user needs CREATE on the database once",
    )


def unavailable(place: str) -> StoreUnavailable:
    """Return the error for a server that can't be reached, or went away."""
    return StoreUnavailable(
        f"the store at {place} can't be reached",
        hint="check that the server runs, and try again",
        retry_after=5.0,
    )


def too_slow(place: str) -> StoreUnavailable:
    """Return the error for an answer that did not come in time."""
    return StoreUnavailable(
        f"the store at {place} did not answer in time", hint="try again later", retry_after=5.0
    )


def not_text() -> InvalidText:
    """Return the error for text that is no text to the server."""
    return InvalidText("the text holds a character that the store can't keep", hint="remove it")
