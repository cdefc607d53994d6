"""The seam between the store and a database: connections that run SQL, and the words in which databases differ.

SQL is written once, with $1, $2 ... for parameters; words in braces of the schema and a few phrases come from the
dialect.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from typing import Any, Protocol, TypeAlias

Record: TypeAlias = Sequence[Any]
"""One row; may be unpacked."""


class Dialect(Protocol):
    """Phrases that the databases say each in its own way."""

    words: Mapping[str, str]
    """What stands for {word} in the schema."""
    lock_schema: str
    """Keeps other processes from changing the schema until the transaction has ended."""
    for_update: str
    """Locks the rows of a SELECT, where rows have locks."""
    skip_locked: str
    """The same, leaving out rows that others have locked."""
    unknown: str
    """The truth value that is neither true nor false."""

    by_code_point: str
    """Put after an expression: its text is ordered by code point."""

    def source(self, names: Sequence[str], types: Sequence[str]) -> str:
        """What ``Connection.each`` reads its rows from, for FROM; its columns have these names."""
        ...

    def table(self, first: int, types: Sequence[str], rows: Sequence[Sequence[Any]]) -> tuple[str, list[Any]]:
        """Rows of text and integers as a subquery, and its parameters, which are numbered from ``first``."""
        ...

    def parameter(self, number: int, value: object) -> tuple[str, object]:
        """One parameter with its type, and what is passed for it."""
        ...

    def exact(self, literal: float) -> object:
        """A number as a parameter that is compared with an integer exactly."""
        ...

    def like(self, text: str, parameter: str) -> str:
        """LIKE, upper and lower case apart, without an escape."""
        ...

    def pattern(self, pattern: str) -> str:
        """A pattern with % and _ as ``like`` takes it."""
        ...


class Connection(Protocol):
    """One connection, in one transaction. Every method raises StoreError when it fails."""

    async def fetch(self, sql: str, *parameters: Any) -> Sequence[Record]:
        """Run one statement; its rows."""
        ...

    async def each(
        self, sql: str, names: Sequence[str], types: Sequence[str], rows: Sequence[tuple[Any, ...]]
    ) -> Sequence[Record]:
        """Run one statement on many rows, ``{rows}`` in it; what it returns for them, in any order."""
        ...

    def portions(self, sql: str, parameters: Sequence[Any], rows: int) -> AsyncIterator[Sequence[Record]]:
        """The rows of one statement, so many at a time."""
        ...

    async def script(self, sql: str) -> None:
        """Run statements without parameters."""
        ...


class Database(Protocol):
    """Where the tables are."""

    @property
    def dialect(self) -> Dialect:
        """How it says what databases say differently."""
        ...

    async def open(self) -> None:
        """Connect. Raises StoreError."""
        ...

    async def close(self) -> None:
        """Let go."""
        ...

    def writing(self) -> AbstractAsyncContextManager[Connection]:
        """A transaction that commits at the end of the block, and rolls back if it raises."""
        ...

    def reading(self, *, max_s: float | None = None) -> AbstractAsyncContextManager[Connection]:
        """One snapshot. Raises QueryAborted once a statement has taken longer than ``max_s``."""
        ...


def numbered(first: int, count: int) -> str:
    """So many parameters, from a first one on."""
    return ", ".join(f"${number}" for number in range(first, first + count))


def listed(names: Iterable[str], of: str = "") -> str:
    """Names of columns, of one table if it is given."""
    return ", ".join(f"{of}.{name}" if of else name for name in names)
