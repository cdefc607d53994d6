"""What pydantic found wrong with a document, in the words of the person who wrote it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Final, get_args

from pydantic import BaseModel, ValidationError
from pydantic.fields import FieldInfo
from pydantic_core import ErrorDetails

from twin.manifest.fields import REFUSED, shown_value
from twin.manifest.problems import KeyPath, Problem, suggestion
from twin.manifest.yaml import Parsed

_WANTED: Final = {
    "string_type": "a string",
    "bool_type": "true or false",
    "dict_type": "a map",
    "model_type": "a map",
    "model_attributes_type": "a map",
    "tuple_type": "a list",
    "list_type": "a list",
}


def explained(error: ValidationError, model: type[BaseModel], origin: Parsed) -> Iterator[Problem]:
    """Turn each error into a problem at its place in the file; ``model`` is what the document was read with."""
    for one in error.errors(include_url=False):
        yield _problem(one, model, origin)


def keys_of(model: type[BaseModel]) -> Mapping[str, FieldInfo]:
    """The fields of a model by the key that people write."""
    return {field.alias or name: field for name, field in model.model_fields.items()}


def model_at(model: type[BaseModel], path: KeyPath) -> type[BaseModel] | None:
    """The model that reads what is at a key path below another model; None if none does."""
    current: type[BaseModel] | None = model
    for part in path:
        if isinstance(part, int):
            continue
        field = keys_of(current).get(part) if current else None
        current = _model_in(field.annotation) if field else None
    return current


def _problem(error: ErrorDetails, model: type[BaseModel], origin: Parsed) -> Problem:
    path: KeyPath = error["loc"]
    if path[-1:] == ("[key]",):  # how pydantic says that the key of a map is wrong, and not its value
        path = path[:-1]
    kind = error["type"]
    if kind == REFUSED:
        return origin.problem(path, error["msg"], error["ctx"]["remedy"])
    parent = model_at(model, path[:-1])
    known = keys_of(parent) if parent else {}
    key = str(path[-1]) if path else ""
    if kind == "extra_forbidden":
        hint = suggestion(key, known, what="Keys that are known here")
        return origin.problem(path, f"the key {key} is not known here", hint)
    example = _example(key, known.get(key))
    if kind == "missing":
        return origin.problem(path, f"{key} is missing", f"Add it{example}.")
    if kind in _WANTED:
        written = error["input"]
        text = f"{shown_value(written)} is not {_WANTED[kind]}"
        if kind == "string_type" and isinstance(written, int | float):
            return origin.problem(path, text, f'Quote it: "{shown_value(written)}".')
        return origin.problem(path, text, f"Write {_WANTED[kind]}{example}.")
    return origin.problem(path, error["msg"], f"Correct it{example}.")


def _example(key: str, field: FieldInfo | None) -> str:
    return f", for example {key}: {field.examples[0]}" if field and field.examples else ""


def _model_in(annotation: Any) -> type[BaseModel] | None:
    """The model inside ``X | None`` or ``tuple[X, ...]``."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    return next((model for arg in get_args(annotation) if (model := _model_in(arg))), None)
