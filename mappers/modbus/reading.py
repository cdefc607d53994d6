"""What a driver reads of one device each cycle, and what it has learnt of the device; no I/O.

all places ──batched──> blocks ──refused──> halves, and theirs ──> good: batched again, without gaps
                          │                                   └──> a place is bad: a fault, tried now and then
                          └──no answer, though a small one is answered──> halves, and half as much from now on
a block without gaps is refused, yet all of its pieces are good: the unit takes no more than the largest of them
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Final

from mappers.modbus.codec import Block, Field
from mappers.modbus.encoding import Encoding
from mappers.modbus.plan import Cost, Limits, Request, Span, Table, batched, gap_cost
from mappers.sdk import Fault, Readings

NOTHING: Final = Limits(0, 0)

RETRY_EVERY: Final = 60
"""Reads between two tries of a place that the device refused."""


class BlockRead:
    """One request, and how its answer becomes readings."""

    __slots__ = ("_block", "_names", "_offsets", "request")

    def __init__(self, request: Request, encodings: Mapping[str, Encoding]) -> None:
        """Compile the request. encodings: by name, at least those of its spans."""
        self.request = request
        self._names = tuple(span.name for span in request.spans)
        self._offsets = tuple(span.address - request.address for span in request.spans)
        self._block: Block | None = None
        if not request.table.of_bits:
            starts = zip(self._names, self._offsets, strict=True)
            self._block = Block([Field(name, at, encodings[name]) for name, at in starts], request.count)

    def add_registers(self, raw: bytes, readings: Readings) -> None:
        """Add the values in the registers of an answer, two bytes each."""
        assert self._block is not None, "a table of registers"
        self._block.decode_into(raw, readings)

    def add_bits(self, bits: Sequence[bool], readings: Readings) -> None:
        """Add the values in the bits of an answer."""
        readings.values.update(zip(self._names, map(bits.__getitem__, self._offsets), strict=True))

    def add_fault(self, fault: Fault, readings: Readings) -> None:
        """Add the same fault for all its points."""
        readings.faults.update(dict.fromkeys(self._names, fault))


@dataclass(slots=True)
class _Bad:
    """A place that the device refused: its points, and at which read it is tried again."""

    read: BlockRead
    fault: Fault
    retry_at: int


@dataclass(slots=True)
class Learnt:
    """What the units behind a connection showed of themselves: how much one answers at once, what it knows.

    ``answered`` is the greatest count that it answered, ``silent`` whether it answered nothing when last asked.
    """

    limits: Limits
    answered: Limits = NOTHING
    silent: bool = False
    mask_write: bool = True
    read_write: bool = True

    def take(self, request: Request) -> None:
        """Note an answer."""
        self.silent = False
        if request.count > self.answered.of(request.table):
            self.answered = self.answered.with_count(request.table, request.count)

    def doubts(self, request: Request) -> bool:
        """Whether silence may mean that so much is too much: it never answered as much."""
        return request.count > max(1, self.answered.of(request.table))

    def lower(self, request: Request, count: int) -> None:
        """Ask for no more than this at once, though never for less than a value needs."""
        count = max(count, *(span.count for span in request.spans))
        if count < self.limits.of(request.table):
            self.limits = self.limits.with_count(request.table, count)


class ReadPlan:
    """The points of one device that are read together; learns from refusals which requests the device takes."""

    __slots__ = ("_bad", "_batched_for", "_blocks", "_careful", "_cost", "_encodings", "_reads", "_spans", "faults",
                 "learnt", "unit")  # fmt: skip

    def __init__(
        self,
        unit: int,
        spans: Iterable[Span],
        encodings: Mapping[str, Encoding],
        *,
        cost: Cost,
        learnt: Learnt,
        faults: Mapping[str, Fault],
    ) -> None:
        """Batch the spans. encodings: by name. faults: points that cannot be read as configured, by name."""
        self.unit = unit
        self.learnt = learnt
        self.faults = dict(faults)
        self._spans = tuple(spans)
        self._encodings = dict(encodings)
        self._cost = cost
        self._careful: set[Span] = set()
        self._bad: dict[tuple[Table, int, int], _Bad] = {}
        self._reads = 0
        self._batched_for = learnt.limits
        self._blocks = self._batched()

    @property
    def blocks(self) -> tuple[BlockRead, ...]:
        """Its requests, of no more than the unit is known to answer."""
        if self._batched_for is not self.learnt.limits:  # another plan of the same unit has learnt
            self._rebatch()
        return self._blocks

    def begin(self, readings: Readings) -> tuple[BlockRead, ...]:
        """Start one read: add the standing faults, return what to ask this time."""
        self._reads += 1
        readings.faults.update(self.faults)
        if not self._bad:
            return self.blocks
        due = []
        for bad in self._bad.values():
            if bad.retry_at <= self._reads:
                due.append(bad.read)
            else:
                bad.read.add_fault(bad.fault, readings)
        return (*self.blocks, *due)

    def halves(self, read: BlockRead) -> list[BlockRead]:
        """Split a block in two without the gap between them; one of a single place cannot be split."""
        request = read.request
        places = [list(spans) for _, spans in groupby(request.spans, key=lambda span: (span.address, span.count))]
        if len(places) < 2:
            return []
        middle = request.address + request.count / 2
        cut = sum(places[n][0].address < middle for n in range(1, len(places))) + 1
        cut = min(cut, len(places) - 1)
        return [self._piece(request.table, some) for some in (places[:cut], places[cut:])]

    def smallest(self, read: BlockRead) -> BlockRead:
        """One place of a block, as small as it has."""
        spans = min(read.request.spans, key=lambda span: span.count)
        return self._piece(read.request.table, [[spans]])

    def answered(self, read: BlockRead) -> None:
        """Note an answer; a place that was refused before is taken back."""
        self.learnt.take(read.request)
        if self._bad and read.request.place in self._bad:
            del self._bad[read.request.place]
            self._careful.update(read.request.spans)
            self._rebatch()

    def refused_place(self, read: BlockRead, fault: Fault) -> None:
        """Note a place that the device does not have: its points get the fault until a later try succeeds."""
        self._bad[read.request.place] = _Bad(read, fault, self._reads + RETRY_EVERY)
        self._rebatch()

    def refused_block(self, read: BlockRead, largest: int) -> None:
        """Note that the device refused a block. largest: of its pieces if it answered all of them, else 0."""
        if largest and not read.request.has_gaps:
            self.learnt.lower(read.request, largest)
        self._careful.update(read.request.spans)
        self._rebatch()

    def too_big(self, read: BlockRead) -> None:
        """Note that the device left a block without an answer and answers less."""
        self.learnt.lower(read.request, read.request.count // 2)

    def _piece(self, table: Table, places: Sequence[Sequence[Span]]) -> BlockRead:
        spans = tuple(span for place in places for span in place)
        first = min(span.address for span in spans)
        return BlockRead(Request(table, first, max(span.end for span in spans) - first, spans), self._encodings)

    def _rebatch(self) -> None:
        self._batched_for = self.learnt.limits
        self._blocks = self._batched()

    def _batched(self) -> tuple[BlockRead, ...]:
        bad = {span for bad in self._bad.values() for span in bad.read.request.spans}
        usual = [span for span in self._spans if span not in bad and span not in self._careful]
        careful = [span for span in self._spans if span not in bad and span in self._careful]
        requests = self._requests(usual, self._cost) + self._requests(careful, gap_cost(0))
        return tuple(BlockRead(request, self._encodings) for request in requests)

    def _requests(self, spans: Sequence[Span], cost: Cost) -> list[Request]:
        """Batch spans; a value longer than the learnt limit is asked for alone, as the place that it is."""
        limits = self.learnt.limits
        longer = [span for span in spans if span.count > limits.of(span.table)]
        fitting = [span for span in spans if span.count <= limits.of(span.table)]
        alone = [Request(span.table, span.address, span.count, (span,)) for span in longer]
        return batched(fitting, cost, limits) + alone
