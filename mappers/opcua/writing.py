"""Writes and method calls: the value in the type that the node, or the method's argument, has."""

from __future__ import annotations

from asyncua import ua
from asyncua.ua.attribute_ids import AttributeIds

from mappers.opcua.nodes import Nodes
from mappers.opcua.session import Session, name_of
from mappers.opcua.values import NotEncodable, variant_of
from mappers.sdk import Value, WriteRefused

Type = tuple[ua.VariantType, int]
"""A node's type, and its rank: -1 a scalar, 0 and up an array."""


class Writer:
    """Writes of one session; the types it has met are kept."""

    def __init__(self, session: Session, nodes: Nodes) -> None:
        self._session = session
        self._nodes = nodes
        self._types: dict[ua.NodeId, Type] = {}
        self._arguments: dict[ua.NodeId, list[Type]] = {}

    async def write(self, node: ua.NodeId, name: str, value: Value) -> None:
        """Write one variable. Raises WriteRefused, NotConnected or DeviceTimeout."""
        kind, rank = await self._type_of(node, name)
        try:
            variant = variant_of(value, kind, rank=rank)
        except NotEncodable as error:
            message = f"{name} at {node.to_string()} was not written: {error}"
            raise WriteRefused(message) from None
        # Without times and status: most servers refuse a write that brings them.
        wanted = ua.WriteValue(NodeId=node, AttributeId=AttributeIds.Value, Value=ua.DataValue(variant))
        try:
            (status,) = await self._session.session.write(ua.WriteParameters(NodesToWrite=[wanted]))
        except Exception as error:
            raise self._session.error(error, f"writing {name}") from error
        if not status.is_good():
            self._types.pop(node, None)  # it may have another type by now
            message = f"{name} at {node.to_string()} was not written: the server answered {name_of(status.value)}"
            raise WriteRefused(message)

    async def call(self, owner: ua.NodeId, method: ua.NodeId, name: str, value: Value) -> None:
        """Call a method with a value, or with a list of them. Raises as ``write`` does."""
        types = await self._arguments_of(method, name)
        given = [] if not types and value in (None, True, []) else value if isinstance(value, list) else [value]
        if len(given) != len(types):
            message = f"{name}: the method {method.to_string()} takes {len(types)} arguments, not {len(given)}"
            raise WriteRefused(message, remedy="Set a list with one value for each argument.")
        try:
            arguments = [variant_of(one, kind, rank=rank) for one, (kind, rank) in zip(given, types, strict=True)]
        except NotEncodable as error:
            message = f"{name}: the method {method.to_string()} was not called: {error}"
            raise WriteRefused(message) from None
        wanted = ua.CallMethodRequest(ObjectId=owner, MethodId=method, InputArguments=arguments)
        try:
            (result,) = await self._session.session.call([wanted])
        except Exception as error:
            raise self._session.error(error, f"calling {name}") from error
        if not result.StatusCode.is_good():
            said = name_of(result.StatusCode.value)
            message = f"{name}: the method {method.to_string()} answered {said}"
            raise WriteRefused(message)

    async def _type_of(self, node: ua.NodeId, name: str) -> Type:
        if node not in self._types:
            try:
                read = await self._session.session.read_attributes([node], AttributeIds.Value)
                self._types[node] = await self._from_value(node, read[0])
            except Exception as error:
                raise self._session.error(error, f"reading the type of {name}") from error
        return self._types[node]

    async def _from_value(self, node: ua.NodeId, read: ua.DataValue) -> Type:
        """By the value that is there; without one by the node's data type."""
        variant = read.Value
        if variant is not None and variant.VariantType not in (None, ua.VariantType.Null) and variant.Value is not None:
            return variant.VariantType, 0 if variant.is_array else -1
        handle = self._session.client.get_node(node)
        kind = await handle.read_data_type_as_variant_type()
        return kind, -1 if int(await handle.read_value_rank()) < 0 else 0

    async def _arguments_of(self, method: ua.NodeId, name: str) -> list[Type]:
        if method not in self._arguments:
            try:
                place = await self._nodes.child(method, "InputArguments")
                arguments = await self._session.client.get_node(place).read_value() if place is not None else []
                self._arguments[method] = [await self._argument(one) for one in arguments or []]
            except Exception as error:
                raise self._session.error(error, f"reading the arguments of {name}") from error
        return self._arguments[method]

    async def _argument(self, argument: ua.Argument) -> Type:
        kind = argument.DataType
        rank = -1 if argument.ValueRank < 0 else 0
        if kind.NamespaceIndex == 0 and isinstance(kind.Identifier, int) and kind.Identifier <= 25:
            return ua.VariantType(kind.Identifier), rank
        from asyncua.common.ua_utils import data_type_to_variant_type  # only for types that are no built-in ones

        return await data_type_to_variant_type(self._session.client.get_node(kind)), rank
