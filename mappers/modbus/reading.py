"""What a driver reads of one device each cycle, and what it has learnt of the device; no I/O.

all places ──batched──> blocks ──refused──> each place alone ──> good: batched again, without gaps
                                                            └──> bad: a standing fault, tried now and then
a block without gaps is refused, yet each of its places is good: the device's own limit is lower, halve ours
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import groupby
from typing import Final

from mappers.modbus.codec import Block, Field
from mappers.modbus.encoding import Encoding
from mappers.modbus.plan import Cost, Limits, Request, Span, Table, batched, gap_cost
from mappers.sdk import Fault, Readings

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


class ReadPlan:
    """The points of one device that are read together; learns from refusals which requests the device takes."""

    __slots__ = ("_bad", "_careful", "_cost", "_encodings", "_limits", "_reads", "_spans", "blocks", "faults", "unit")

    def __init__(
        self,
        unit: int,
        spans: Iterable[Span],
        encodings: Mapping[str, Encoding],
        *,
        cost: Cost,
        limits: Limits,
        faults: Mapping[str, Fault],
    ) -> None:
        """Batch the spans. encodings: by name. faults: points that cannot be read as configured, by name."""
        self.unit = unit
        self.faults = dict(faults)
        self._spans = tuple(spans)
        self._encodings = dict(encodings)
        self._cost = cost
        self._limits = limits
        self._careful: set[Span] = set()
        self._bad: dict[tuple[Table, int, int], _Bad] = {}
        self._reads = 0
        self.blocks = self._batched()

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

    def places(self, refused: BlockRead) -> list[BlockRead]:
        """Return the places of a refused block as reads of their own; a block of one place gives none."""
        request = refused.request
        places = [
            Request(request.table, address, count, tuple(spans))
            for (address, count), spans in groupby(request.spans, key=lambda span: (span.address, span.count))
        ]
        return [BlockRead(place, self._encodings) for place in places] if len(places) > 1 else []

    def answered(self, read: BlockRead) -> None:
        """Take back a place that was refused before and is answered now."""
        if read.request.place in self._bad:
            del self._bad[read.request.place]
            self._careful.update(read.request.spans)
            self.blocks = self._batched()

    def refused_place(self, read: BlockRead, fault: Fault) -> None:
        """Note a place that the device does not have: its points get the fault until a later try succeeds."""
        self._bad[read.request.place] = _Bad(read, fault, self._reads + RETRY_EVERY)
        self.blocks = self._batched()

    def refused_block(self, read: BlockRead, *, all_good: bool) -> None:
        """Note that the device refused a block whose places were then asked one by one."""
        request = read.request
        if all_good and not request.has_gaps:
            largest = max(span.count for span in request.spans)
            limit = max(request.count // 2, largest)
            bits = request.table.of_bits
            self._limits = replace(self._limits, bits=limit) if bits else replace(self._limits, registers=limit)
        self._careful.update(request.spans)
        self.blocks = self._batched()

    def _batched(self) -> tuple[BlockRead, ...]:
        bad = {span for bad in self._bad.values() for span in bad.read.request.spans}
        usual = [span for span in self._spans if span not in bad and span not in self._careful]
        careful = [span for span in self._spans if span not in bad and span in self._careful]
        requests = self._requests(usual, self._cost) + self._requests(careful, gap_cost(0))
        return tuple(BlockRead(request, self._encodings) for request in requests)

    def _requests(self, spans: Sequence[Span], cost: Cost) -> list[Request]:
        """Batch spans; a value longer than the learnt limit is asked for alone, as the place that it is."""
        longer = [span for span in spans if span.count > self._limits.of(span.table)]
        fitting = [span for span in spans if span.count <= self._limits.of(span.table)]
        alone = [Request(span.table, span.address, span.count, (span,)) for span in longer]
        return batched(fitting, cost, self._limits) + alone
