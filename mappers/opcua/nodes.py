"""Which node each point means: node ids with a namespace URI and browse paths are looked up in the server, once."""

from __future__ import annotations

import logging
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from asyncua import ua
from asyncua.ua.attribute_ids import AttributeIds
from asyncua.ua.object_ids import ObjectIds
from asyncua.ua.status_codes import StatusCodes

from mappers.opcua.config import OpcuaPoint
from mappers.opcua.nodeid import namespace_uri, steps, with_index
from mappers.opcua.session import Session, name_of
from mappers.opcua.status import fault_of
from mappers.sdk import Fault, Reason

log = logging.getLogger(__name__)

_HIERARCHICAL: Final = ua.NodeId(ua.Int32(ObjectIds.HierarchicalReferences))
_NAMESPACES: Final = ua.NodeId(ua.Int32(ObjectIds.Server_NamespaceArray))


@dataclass(frozen=True, slots=True)
class Place:
    """Where a node is, as the settings say it: a node id, or a browse path from a node."""

    node_id: str
    path: str = ""


def place_of(device_node: str, point: OpcuaPoint) -> Place:
    """The place of a point that reads."""
    return Place(point.node_id) if point.node_id else Place(device_node, point.path)


class Nodes:
    """The nodes of one session. What was found is kept; what was not is looked up again when it is next asked for."""

    def __init__(self, session: Session) -> None:
        self._session = session
        self._found: dict[Place, ua.NodeId] = {}
        self._indexes: dict[str, int] | None = None

    async def find(self, places: Iterable[Place]) -> dict[Place, ua.NodeId | Fault]:
        """The node of each place, or why there is none. Raises MapperError when the server could not be asked."""
        wanted = list(dict.fromkeys(places))
        answers: dict[Place, ua.NodeId | Fault] = {}
        paths: list[Place] = []
        for place in wanted:
            known = self._found.get(place)
            if known is not None:
                answers[place] = known
            elif place.path:
                paths.append(place)
            else:
                answers[place] = await self._by_id(place.node_id)
        if paths:
            answers |= await self._by_path(paths)
        self._found |= {place: node for place, node in answers.items() if isinstance(node, ua.NodeId)}
        return answers

    async def child(self, parent: ua.NodeId, name: str) -> ua.NodeId | None:
        """A property of a node such as 0:EURange; None if it has none."""
        (answer,) = await self._translate([_browse_path(parent, ((0, name),))])
        return answer if isinstance(answer, ua.NodeId) else None

    async def _by_id(self, text: str) -> ua.NodeId | Fault:
        uri = namespace_uri(text)
        if uri:
            indexes = await self._namespaces()
            if uri not in indexes:
                self._indexes = None  # the server may learn it later
                return Fault(Reason.ILLEGAL_ADDRESS, f"the server knows no namespace {uri}")
            text = with_index(text, indexes[uri])
        return ua.NodeId.from_string(text)

    async def _by_path(self, places: list[Place]) -> dict[Place, ua.NodeId | Fault]:
        starts = [await self._by_id(place.node_id) for place in places]
        asked = [
            (place, _browse_path(start, steps(place.path)))
            for place, start in zip(places, starts, strict=True)
            if isinstance(start, ua.NodeId)
        ]
        answers: dict[Place, ua.NodeId | Fault] = {
            place: start for place, start in zip(places, starts, strict=True) if isinstance(start, Fault)
        }
        found = await self._translate([path for _, path in asked]) if asked else []
        return answers | {place: node for (place, _), node in zip(asked, found, strict=True)}

    async def _translate(self, paths: list[ua.BrowsePath]) -> list[ua.NodeId | Fault]:
        try:
            results = await self._session.session.translate_browsepaths_to_nodeids(paths)
        except Exception as error:
            raise self._session.error(error, "looking up browse paths") from error
        return [_target(result) for result in results]

    async def _namespaces(self) -> dict[str, int]:
        if self._indexes is None:
            try:
                (answer,) = await self._session.session.read_attributes([_NAMESPACES], AttributeIds.Value)
            except Exception as error:
                raise self._session.error(error, "reading its namespaces") from error
            uris = answer.Value.Value if answer.Value is not None else None
            self._indexes = {uri: index for index, uri in enumerate(uris or ())}
        return self._indexes


def _browse_path(start: ua.NodeId, path: tuple[tuple[int, str], ...]) -> ua.BrowsePath:
    elements = [
        ua.RelativePathElement(
            ReferenceTypeId=_HIERARCHICAL,
            IsInverse=False,  # type: ignore[arg-type]  # as below; asyncua's default is true
            IncludeSubtypes=True,  # type: ignore[arg-type]  # asyncua's Boolean is an enumeration that nobody can make
            TargetName=ua.QualifiedName(name, index),
        )
        for index, name in path
    ]
    return ua.BrowsePath(StartingNode=start, RelativePath=ua.RelativePath(Elements=elements))


def _target(result: ua.BrowsePathResult) -> ua.NodeId | Fault:
    if not result.StatusCode.is_good() or not result.Targets:
        code = result.StatusCode.value if not result.StatusCode.is_good() else StatusCodes.BadNoMatch
        return fault_of(code, name_of(code))
    target = result.Targets[0].TargetId
    return ua.NodeId(target.Identifier, target.NamespaceIndex, target.NodeIdType)
