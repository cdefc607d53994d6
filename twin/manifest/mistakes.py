"""What a mapper's own model finds wrong with its part of a document: key path, value, what to write instead."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from enum import Enum
from typing import Any, Final, Literal, get_args, get_origin

from pydantic import BaseModel, SecretBytes, SecretStr, ValidationError
from pydantic.fields import FieldInfo
from pydantic_core import ErrorDetails

from twin.manifest.explain import keys_of, model_at
from twin.manifest.fields import shown_value
from twin.manifest.problems import KeyPath, suggestion

_BEYOND: Final = {
    "greater_than_equal": ("is below", "ge"),
    "greater_than": ("is not above", "gt"),
    "less_than_equal": ("is over", "le"),
    "less_than": ("is not below", "lt"),
}
_NOT_A: Final = {
    "int_parsing": "a whole number",
    "int_type": "a whole number",
    "int_from_float": "a whole number",
    "float_parsing": "a number",
    "float_type": "a number",
    "finite_number": "a finite number",
    "bool_parsing": "true or false",
    "bool_type": "true or false",
    "string_type": "a text",
    "dict_type": "a map",
    "model_type": "a map",
    "list_type": "a list",
    "tuple_type": "a list",
}
_PLAIN: Final[dict[object, str]] = {
    int: "a whole number",
    float: "a number",
    bool: "true or false",
    str: "a text",
    list: "a list",
    tuple: "a list",
    dict: "a map",
}


@dataclass(frozen=True, slots=True)
class Mistake:
    """One thing wrong: the key path below the model, what is wrong, what to do."""

    path: KeyPath
    text: str
    remedy: str


def worded(error: ValidationError, model: type[BaseModel]) -> Iterator[Mistake]:
    """Each error of a model in words."""
    for one in error.errors(include_url=False):
        yield Mistake(one["loc"], *_words(one, model))


def as_sentences(said: str) -> tuple[str, str]:
    """What a model says as ``what is wrong; remedy``: the first as it is, the second as a sentence, or empty."""
    text, _, remedy = said.partition("; ")
    return text, f"{remedy[:1].upper()}{remedy[1:].rstrip('.')}." if remedy else ""


def written_keys(model: type[BaseModel]) -> dict[str, FieldInfo]:
    """Fields by every name that pydantic may call them."""
    by_name = dict(model.model_fields)
    read_as = {name: one for one in by_name.values() for name in getattr(one.validation_alias, "choices", ())}
    return {**by_name, **read_as, **keys_of(model)}


def _words(error: ErrorDetails, model: type[BaseModel]) -> tuple[str, str]:
    kind, path = error["type"], error["loc"]
    key = str(path[-1]) if path else ""
    parent = model_at(model, path[:-1])
    known = written_keys(parent) if parent else {}
    if kind == "value_error":
        text, remedy = as_sentences(str(error["ctx"]["error"]))
        return text, remedy or _remedy(key, known.get(key))
    if kind == "extra_forbidden":
        return f"the key {key} is not known here", suggestion(key, _names(parent), what="Keys are")
    if kind == "missing":
        return f"{key} is missing", f"Add it: {_wanted(known.get(key))}{_example(key, known.get(key))}."
    if _is_secret(known.get(key)):
        return (
            f"{key} is not {_NOT_A.get(kind, 'what it should be')} (it is a secret and not shown)",
            "Put it in quotes.",
        )
    value = shown_value(error["input"])
    if kind in _BEYOND:
        word, limit = _BEYOND[kind]
        return f"{key} {value} {word} {error['ctx'][limit]:g}", _remedy(key, known.get(key))
    if kind in ("literal_error", "enum"):
        choices = _choices(known[key].annotation) if key in known else []
        return f"{key} {value} is not known", suggestion(str(error["input"]), choices, what="It is one of")
    if kind in _NOT_A:
        text = f"{key} {value} is not {_NOT_A[kind]}"
        return text, f'Quote it: "{value}".' if _is_bare_number(error) else _remedy(key, known.get(key))
    return f"{key} {value}: {error['msg']}", _remedy(key, known.get(key))


def _is_bare_number(error: ErrorDetails) -> bool:
    return error["type"] == "string_type" and isinstance(error["input"], int | float)


def _names(model: type[BaseModel] | None) -> list[str]:
    return list(keys_of(model)) if model else []


def _remedy(key: str, field: FieldInfo | None) -> str:
    if field is None:
        return "See the mapper's README for each key."
    return f"Write {_wanted(field)}{_example(key, field)}."


def _example(key: str, field: FieldInfo | None) -> str:
    return f", for example {key}: {field.examples[0]}" if field and field.examples else ""


def _wanted(field: FieldInfo | None) -> str:
    """What fits a field: a whole number from 1 to 65535, one of tcp, rtu."""
    if field is None:
        return "what the mapper's README says"
    choices = _choices(field.annotation)
    if choices:
        return f"one of {', '.join(choices)}"
    if any(isinstance(one, type) and issubclass(one, BaseModel) for one in _types(field.annotation)):
        return "a map"
    kinds = [_PLAIN[one] for one in _types(field.annotation) if one in _PLAIN]
    return (kinds[0] if kinds else "a text" if _is_secret(field) else "a value") + _range(field)


def _types(annotation: object) -> Iterator[object]:
    """A type, what it is as a whole, and those that it is made of."""
    yield annotation
    yield get_origin(annotation)
    for one in get_args(annotation):
        yield from _types(one)


def _range(field: FieldInfo) -> str:
    low = next((str(one.ge) for one in _metadata(field) if getattr(one, "ge", None) is not None), None)
    high = next((str(one.le) for one in _metadata(field) if getattr(one, "le", None) is not None), None)
    if low is not None and high is not None:
        return f" from {low} to {high}"
    return f" of at least {low}" if low is not None else f" of at most {high}" if high is not None else ""


def _metadata(field: FieldInfo) -> Iterator[Any]:
    """The limits of a field, those of ``Annotated`` inside ``X | None`` included."""
    yield from field.metadata
    for one in get_args(field.annotation):
        for extra in getattr(one, "__metadata__", ()):
            yield from getattr(extra, "metadata", [extra])


def _choices(annotation: object) -> list[str]:
    if get_origin(annotation) is Literal:
        return [str(one) for one in get_args(annotation)]
    if isinstance(annotation, type) and issubclass(annotation, Enum):
        return [str(one.value) for one in annotation]
    return [choice for one in get_args(annotation) for choice in _choices(one)]


def _is_secret(field: FieldInfo | None) -> bool:
    return field is not None and any(one in (SecretStr, SecretBytes) for one in _types(field.annotation))
