"""Browses a server: each object that has variables of its own becomes a device, each variable a property."""

from __future__ import annotations

import logging
import re
from collections.abc import AsyncIterator, Callable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import Final

from asyncua import ua
from asyncua.ua.attribute_ids import AttributeIds
from asyncua.ua.object_ids import ObjectIds

from mappers.opcua.config import OpcuaScan
from mappers.opcua.session import Session
from mappers.sdk import Access, FoundDevice, FoundPoint, Progress, ValueType

log = logging.getLogger(__name__)

_PER_CALL: Final = 100
_SERVER: Final = ObjectIds.Server
_WRITABLE: Final = 0x02  # of AccessLevel: CurrentWrite
_READABLE: Final = 0x01

_INTEGERS: Final = frozenset(range(2, 10))
_TYPES: Final = {1: ValueType.BOOLEAN, 10: ValueType.FLOAT, 11: ValueType.DOUBLE, 12: ValueType.STRING}
_AS_TEXT: Final = frozenset({13, 14, 16, 17, 18, 20, 21})
_BYTES: Final = 15


@dataclass(slots=True)
class _Object:
    node: ua.NodeId
    name: str
    variables: list[tuple[str, ua.NodeId]] = field(default_factory=list)


async def discover(session: Session, wanted: OpcuaScan, tell: Callable[[Progress], None]) -> AsyncIterator[FoundDevice]:
    """All objects below a node that have variables; the server's own object is left out."""
    objects = await _crawl(session, wanted, tell)
    count = sum(len(one.variables) for one in objects)
    done = 0
    for some in _batches(objects):
        described = await _described(session, [node for one in some for _, node in one.variables])
        done += sum(len(one.variables) for one in some)
        tell(Progress(done, count, "variables"))
        for one in some:
            if device := found_device(one.name, one.node, one.variables, described):
                yield device


def found_device(
    name: str, node: ua.NodeId, variables: Iterable[tuple[str, ua.NodeId]], described: dict[ua.NodeId, FoundPoint]
) -> FoundDevice | None:
    """One object as a device; None if none of its variables can be read."""
    points: dict[str, FoundPoint] = {}
    for title, variable in variables:
        point = described.get(variable)
        if point is not None:
            unique = unused(property_name(title), points)
            points[unique] = FoundPoint(unique, point.type, point.access, point.visitor)
    if not points:
        return None
    return FoundDevice(device_name(name), {"node": node.to_string()}, tuple(points.values()), name)


def property_name(title: str) -> str:
    """A browse name in the alphabet of properties."""
    return re.sub(r"[^A-Za-z0-9_.,:/@#-]+", "-", title).strip("-")[:120] or "value"


def device_name(title: str) -> str:
    """A browse name in the alphabet of names."""
    return re.sub(r"[^a-z0-9.-]+", "-", title.lower())[:60].strip("-.") or "device"


def unused(name: str, taken: Iterable[str]) -> str:
    """The name, with a number if it is taken."""
    taken = set(taken)
    number = 2
    unique = name
    while unique in taken:
        unique, number = f"{name}-{number}", number + 1
    return unique


def value_type(data_type: ua.NodeId, rank: int) -> ValueType:
    """The property type that fits a node's data type."""
    kind = data_type.Identifier if data_type.NamespaceIndex == 0 and isinstance(data_type.Identifier, int) else 0
    if rank >= 0:
        return ValueType.JSON
    if kind in _INTEGERS:
        return ValueType.INT
    if kind in _AS_TEXT:
        return ValueType.STRING
    return ValueType.BYTES if kind == _BYTES else _TYPES.get(kind, ValueType.JSON)


async def _crawl(session: Session, wanted: OpcuaScan, tell: Callable[[Progress], None]) -> list[_Object]:
    """Breadth first, many nodes in one call, every node once."""
    found = [_Object(ua.NodeId.from_string(wanted.under), "objects")]
    seen: set[ua.NodeId] = {found[0].node}
    level = list(found)
    for _ in range(wanted.max_depth):
        below: list[_Object] = []
        for start in range(0, len(level), _PER_CALL):
            part = level[start : start + _PER_CALL]
            for parent, references in zip(part, await _children(session, [one.node for one in part]), strict=True):
                below += _sorted_in(parent, references, seen, wanted.max_nodes)
            tell(Progress(len(seen), 0, "nodes"))
        found += below
        level = below
        if not level or len(seen) >= wanted.max_nodes:
            break
    if len(seen) >= wanted.max_nodes:
        log.warning("the server has %d nodes or more; the rest was not browsed", wanted.max_nodes)
    return found


def _sorted_in(
    parent: _Object, references: Iterable[ua.ReferenceDescription], seen: set[ua.NodeId], limit: int
) -> list[_Object]:
    """Put variables into their object; returns the objects, to be browsed next."""
    below = []
    for reference in references:
        target = reference.NodeId
        node = ua.NodeId(target.Identifier, target.NamespaceIndex, target.NodeIdType)
        own = node.NamespaceIndex == 0 and node.Identifier == _SERVER
        if node in seen or own or len(seen) >= limit:
            continue
        seen.add(node)
        title = reference.BrowseName.Name or node.to_string()
        if reference.NodeClass == ua.NodeClass.Variable:
            parent.variables.append((title, node))
        else:
            below.append(_Object(node, title if parent.name == "objects" else f"{parent.name}.{title}"))
    return below


def _batches(objects: Iterable[_Object]) -> Iterator[list[_Object]]:
    """Objects with variables, so many together that a call is full."""
    batch: list[_Object] = []
    for one in objects:
        if one.variables:
            batch.append(one)
        if sum(len(each.variables) for each in batch) >= _PER_CALL:
            yield batch
            batch = []
    if batch:
        yield batch


async def _children(session: Session, nodes: list[ua.NodeId]) -> list[list[ua.ReferenceDescription]]:
    wanted = ua.BrowseParameters(
        NodesToBrowse=[
            ua.BrowseDescription(
                NodeId=node,
                BrowseDirection=ua.BrowseDirection.Forward,
                ReferenceTypeId=ua.NodeId(ua.Int32(ObjectIds.HierarchicalReferences)),
                IncludeSubtypes=True,
                NodeClassMask=ua.UInt32(ua.NodeClass.Object | ua.NodeClass.Variable),
                ResultMask=ua.UInt32(ua.BrowseResultMask.All),
            )
            for node in nodes
        ],
    )
    wanted.RequestedMaxReferencesPerNode = ua.UInt32(0)
    results = await session.session.browse(wanted)
    found = [list(result.References or []) for result in results]
    open_points = {index: result.ContinuationPoint for index, result in enumerate(results) if result.ContinuationPoint}
    while open_points:
        indexes = list(open_points)
        more = await session.session.browse_next(
            ua.BrowseNextParameters(ReleaseContinuationPoints=False, ContinuationPoints=list(open_points.values()))
        )
        open_points = {}
        for index, result in zip(indexes, more, strict=True):
            found[index] += result.References or []
            if result.ContinuationPoint:
                open_points[index] = result.ContinuationPoint
    return found


async def _described(session: Session, nodes: list[ua.NodeId]) -> dict[ua.NodeId, FoundPoint]:
    described: dict[ua.NodeId, FoundPoint] = {}
    for start in range(0, len(nodes), _PER_CALL):
        part = nodes[start : start + _PER_CALL]
        types = await session.session.read_attributes(part, AttributeIds.DataType)
        ranks = await session.session.read_attributes(part, AttributeIds.ValueRank)
        levels = await session.session.read_attributes(part, AttributeIds.UserAccessLevel)
        for node, data_type, rank, level in zip(part, types, ranks, levels, strict=True):
            if not (data_type.Value and rank.Value and level.Value) or not level.Value.Value & _READABLE:
                continue
            access = Access.READ_WRITE if level.Value.Value & _WRITABLE else Access.READ_ONLY
            kind = value_type(data_type.Value.Value, rank.Value.Value)
            described[node] = FoundPoint(node.to_string(), kind, access, {"nodeId": node.to_string()})
    return described
