"""Which requests read a device's values most cheaply; pure.

One request for neighbours, and for values with a gap between them when reading the gap costs less than a second
request. Sorted by address, an optimal set of requests takes neighbours in the list: of two requests that interleave,
either one lies inside the other, or values can move from the first to the second and leave neither longer. So dynamic
programming over the sorted list finds the optimum.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from enum import StrEnum
from itertools import groupby
from typing import Final


class Table(StrEnum):
    """The four address spaces of a Modbus device."""

    HOLDING = "holding"
    INPUT = "input"
    COIL = "coil"
    DISCRETE = "discrete"

    @property
    def of_bits(self) -> bool:
        """Whether an address is one bit, not a register."""
        return self in (Table.COIL, Table.DISCRETE)


@dataclass(frozen=True, slots=True)
class Span:
    """The addresses of one value."""

    table: Table
    address: int
    count: int
    name: str

    @property
    def end(self) -> int:
        """First address after it."""
        return self.address + self.count


@dataclass(frozen=True, slots=True)
class Request:
    """One read, and the values that it answers."""

    table: Table
    address: int
    count: int
    spans: tuple[Span, ...]

    @property
    def place(self) -> tuple[Table, int, int]:
        """What is read, without who wants it."""
        return self.table, self.address, self.count

    @property
    def has_gaps(self) -> bool:
        """Whether it reads addresses that belong to no value."""
        reached = self.address
        for span in self.spans:
            if span.address > reached:
                return True
            reached = max(reached, span.end)
        return False


@dataclass(frozen=True, slots=True)
class Cost:
    """Price of a request and of each register in it, in one unit; a coil costs a sixteenth of a register."""

    request: float
    register: float

    def of(self, table: Table, count: int) -> float:
        """Price of one read of so many addresses."""
        return self.request + (self.register / 16 if table.of_bits else self.register) * count


@dataclass(frozen=True, slots=True)
class Limits:
    """Greatest count of one request."""

    registers: int = 125
    bits: int = 2000

    def of(self, table: Table) -> int:
        """Greatest count for the table."""
        return self.bits if table.of_bits else self.registers

    def with_count(self, table: Table, count: int) -> Limits:
        """The same with another count for the table."""
        return replace(self, bits=count) if table.of_bits else replace(self, registers=count)


TCP_COST: Final = Cost(request=500, register=10)
"""Microseconds. A network would bridge more; but many hosts are gateways to a slow serial line."""


def rtu_cost(baudrate: int) -> Cost:
    """Price on a serial line, in microseconds: 13 characters of frames, 7 of silence, 5 ms of thought; 11 bits each."""
    character_us = 11_000_000 / baudrate
    return Cost(request=20 * character_us + 5000, register=2 * character_us)


def ascii_cost(baudrate: int) -> Cost:
    """Price on a serial line of ASCII frames, in microseconds: two characters a byte, and a mark at either end."""
    character_us = 10_000_000 / baudrate
    return Cost(request=34 * character_us + 5000, register=4 * character_us)


def gap_cost(gap: int) -> Cost:
    """Return the price under which exactly the gaps of up to so many registers are bridged."""
    return Cost(request=gap, register=1)


def batched(spans: Iterable[Span], cost: Cost, limits: Limits) -> list[Request]:
    """Return the cheapest requests that read every span once, each whole; of equal ones, the fewest.

    Raises ValueError when a span alone is over its limit.
    """
    requests: list[Request] = []
    in_order = sorted(spans, key=lambda span: (span.table, span.address, span.count, span.name))
    for table, group in groupby(in_order, key=lambda span: span.table):
        requests += _batched_table(table, list(group), cost, limits.of(table))
    return requests


def _batched_table(table: Table, spans: list[Span], cost: Cost, limit: int) -> list[Request]:
    # Values at the same place (the bits of a register) are one place: the search is over places.
    places = [list(group) for _, group in groupby(spans, key=lambda span: (span.address, span.count))]
    for first, *_ in places:
        if first.count > limit:
            message = (
                f"{first.name} needs {first.count} addresses of {table} in one request; at most {limit} are allowed"
            )
            raise ValueError(message)
    starts = [place[0].address for place in places]
    ends = [place[0].end for place in places]
    # best[i]: price and number of requests for the places from i on; cut[i]: where the second of them begins.
    best: list[tuple[float, int]] = [(0.0, 0)] * (len(places) + 1)
    cut = [0] * len(places)
    for i in range(len(places) - 1, -1, -1):
        cheapest: tuple[float, int] | None = None
        reached = 0
        for j in range(i, len(places)):
            reached = max(reached, ends[j])
            if reached - starts[i] > limit:
                break
            price, number = best[j + 1]
            candidate = (price + cost.of(table, reached - starts[i]), number + 1)
            if cheapest is None or candidate < cheapest:
                cheapest, cut[i] = candidate, j + 1
        assert cheapest is not None, "each place alone is within the limit"
        best[i] = cheapest
    requests = []
    i = 0
    while i < len(places):
        members = tuple(span for place in places[i : cut[i]] for span in place)
        count = max(ends[i : cut[i]]) - starts[i]
        requests.append(Request(table, starts[i], count, members))
        i = cut[i]
    return requests
