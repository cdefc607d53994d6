"""A twin's spec as the text that a store keeps: one JSON object on two lines, of which twins of one model share one.

{"key":{...},"uid":"u1","model":"tank",...,"desired":{...},
"properties":{...}}

What a model says is by far the longer part, so it is read once for all twins that have the same.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Final

from pydantic import TypeAdapter

from twin.model import PropertySpec, TwinSpec

NO_SPEC: Final = "null"
"""In place of the spec of a twin whose document has not come."""


class SpecReader:
    """Reads specs; those whose second lines are equal get one and the same ``properties``."""

    def __init__(self) -> None:
        self._properties: dict[str, dict[str, PropertySpec]] = {}

    def read(self, text: str) -> TwinSpec | None:
        """The spec; None if there is none. Raises ValueError for text that is not one."""
        own, _, shared = text.partition("\n")
        if text == NO_SPEC:
            return None
        if not shared:  # a store of an earlier release, or no properties
            return _SPEC.validate_json(text)
        properties = self._properties.get(shared)
        if properties is None:
            properties = self._properties[shared] = _SPEC.validate_json(_BLANK + shared).properties
        return replace(_SPEC.validate_json(own.removesuffix(",") + "}"), properties=properties)


def text_of(spec: TwinSpec) -> str:
    """The text of a spec."""
    if not spec.properties:
        return _SPEC.dump_json(spec).decode()
    own = _SPEC.dump_json(spec, exclude={"properties"}).decode()
    shared = _PROPERTIES.dump_json(spec.properties).decode()
    return f'{own.removesuffix("}")},\n"properties":{shared}}}'


_SPEC: Final = TypeAdapter(TwinSpec)
_PROPERTIES: Final = TypeAdapter(dict[str, PropertySpec])
_BLANK: Final = '{"key":{"kind":"device","namespace":"","name":""},"uid":"",'
