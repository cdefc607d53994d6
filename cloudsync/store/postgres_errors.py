"""Which error of ours an error of PostgreSQL or of the line to it is."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Final

from twin.errors import QueryAborted, StoreError

_REMEDIES: Final = (
    ("53100", "Free disk space on PostgreSQL's machine; nothing was acknowledged."),
    ("53300", "Raise max_connections in PostgreSQL's settings, or run fewer workers."),
    ("55P03", "Another worker holds the gateway; it is tried again."),
    ("40", "Two transactions were in each other's way; it is tried again."),
    ("28", "Check user and password in store.url, and pg_hba.conf."),
    ("3D000", "Make the database with `createdb --encoding=UTF8 --template=template0`."),
    ("42501", "Give the user of store.url the right to make tables: GRANT CREATE ON SCHEMA public TO ..."),
    ("08", "Start PostgreSQL, or check store.url; the store goes on by itself then."),
    ("57P", "Start PostgreSQL, or check store.url; the store goes on by itself then."),
)
"""By the first signs of the SQLSTATE."""
_AWAY: Final = "Start PostgreSQL, or check store.url; the store goes on by itself then."


@contextlib.contextmanager
def failing(what: str, *, bounded: bool = False) -> Iterator[None]:
    """Raise StoreError for what goes wrong; QueryAborted for a statement that was ``bounded`` and took too long."""
    import asyncpg

    try:
        yield
    except asyncpg.QueryCanceledError as error:
        if bounded:
            raise cancelled(None) from None
        raise _store_error(what, error, "57014") from error
    except asyncpg.PostgresError as error:
        raise _store_error(what, error, error.sqlstate or "") from error
    except (asyncpg.InterfaceError, asyncpg.InternalClientError) as error:
        # A value that fits no column is ours, anything else is the line's.
        remedy = "" if isinstance(error, ValueError) else _AWAY
        message = f"{what}: {error}"
        raise StoreError(message, remedy=remedy) from error
    except TimeoutError as error:
        message = f"{what}: no answer in time"
        raise StoreError(message, remedy=_AWAY) from error
    except (OSError, OverflowError) as error:
        message = f"{what}: {error}"
        raise StoreError(message, remedy=_AWAY if isinstance(error, OSError) else "") from error


def cancelled(max_s: float | None) -> QueryAborted:
    """The error of a query that took too long."""
    after = f" after {max_s:g} s" if max_s is not None else ""
    message = f"the query was given up{after}"
    return QueryAborted(message, remedy="Narrow it with a condition on tags, or ask for fewer fields.")


def _store_error(what: str, error: Exception, sqlstate: str) -> StoreError:
    remedy = next((text for start, text in _REMEDIES if sqlstate.startswith(start)), "")
    return StoreError(f"{what}: {error}", remedy=remedy)
