"""How values of the model are written in JSON where that is not their fields: keys as text, choices by their name.

    ServiceKey  default/web        PortKey  default/web:80, default/dns:53/udp        RouteKey  HTTPRoute default/web
    a choice    {"redirect": {...}}: exactly one of its names

pydantic is imported when a form is first asked for: the words of the mesh themselves need none.
"""

from __future__ import annotations

from typing import Any, Protocol, Self


class _Source(Protocol):
    """What pydantic passes to ask for the schema of a type."""

    def generate_schema(self, source: Any, /) -> Any: ...


class AsText:
    """A value that is written as text, and read from it by ``parse``, which raises ValueError."""

    __slots__ = ()

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read it from text. Raises ValueError."""
        raise NotImplementedError

    @classmethod
    def __get_pydantic_core_schema__(cls, _source: Any, _next: Any) -> Any:
        """Pydantic's own hook."""
        from pydantic_core import core_schema

        read = core_schema.no_info_after_validator_function(cls._read, core_schema.str_schema(max_length=400))
        return core_schema.json_or_python_schema(
            json_schema=read,
            python_schema=core_schema.is_instance_schema(cls),
            serialization=core_schema.plain_serializer_function_ser_schema(str, when_used="always"),
        )

    @classmethod
    def _read(cls, text: str) -> Self:
        return cls.parse(text)


class OneOf:
    """Marks a union as written by the names of its members."""

    def __init__(self, **members: type) -> None:
        self._members = members
        self._names = {member: name for name, member in members.items()}

    def __get_pydantic_core_schema__(self, _source: Any, ask: _Source) -> Any:
        """Pydantic's own hook."""
        from pydantic_core import core_schema

        fields = {
            name: core_schema.typed_dict_field(ask.generate_schema(member), required=False)
            for name, member in self._members.items()
        }
        form = core_schema.typed_dict_schema(fields, extra_behavior="forbid")
        members = tuple(self._members.values())
        return core_schema.json_or_python_schema(
            json_schema=core_schema.no_info_after_validator_function(self._only, form),
            python_schema=core_schema.union_schema([core_schema.is_instance_schema(one) for one in members]),
            serialization=core_schema.plain_serializer_function_ser_schema(self._named, return_schema=form),
        )

    def _only(self, found: dict[str, Any]) -> Any:
        if len(found) != 1:
            message = f"exactly one of {', '.join(self._members)} is needed, found {len(found)}"
            raise ValueError(message)
        return next(iter(found.values()))

    def _named(self, value: Any) -> dict[str, Any]:
        return {self._names[type(value)]: value}
