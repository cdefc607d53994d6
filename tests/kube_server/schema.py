"""Structural schemas of CRDs: validation, pruning of unknown fields, defaults."""

import copy
import re

TYPES = {
    "object": (dict,),
    "array": (list,),
    "string": (str,),
    "boolean": (bool,),
    "integer": (int,),
    "number": (int, float),
}


def is_type(value, name):
    if isinstance(value, bool) and name != "boolean":
        return False
    if name == "integer" and isinstance(value, float):
        return value.is_integer()
    return isinstance(value, TYPES[name])


def type_name(value):
    for name in ("boolean", "object", "array", "string", "integer", "number"):
        if is_type(value, name):
            return name
    return "null"


def broken_schema(schema, path="openAPIV3Schema"):
    """Why a schema is not structural: the (path, text) of each problem."""
    if not isinstance(schema, dict):
        yield path, "must be an object"
        return
    wild = schema.get("x-kubernetes-int-or-string") or schema.get("x-kubernetes-preserve-unknown-fields")
    if not schema.get("type") and not wild:
        yield f"{path}.type", "Required value: must not be empty for specified object fields"
    if schema.get("properties") and schema.get("additionalProperties"):
        yield f"{path}.additionalProperties", "Forbidden: properties and additionalProperties are mutual exclusive"
    if schema.get("type") == "array" and "items" not in schema:
        yield f"{path}.items", "Required value: must be specified"
    for name, inner in (schema.get("properties") or {}).items():
        yield from broken_schema(inner, f"{path}.properties[{name}]")
    for name in ("items", "additionalProperties"):
        inner = schema.get(name)
        if isinstance(inner, dict):
            yield from broken_schema(inner, f"{path}.{name}")


def problems(value, schema, path=""):
    """(path, text) of each field that is not as the schema asks."""
    if value is None:
        if not schema.get("nullable"):
            yield path, f'Invalid value: "null": {path} in body must be of type {schema.get("type")}: "null"'
        return
    if schema.get("x-kubernetes-int-or-string"):
        if not (is_type(value, "integer") or is_type(value, "string")):
            yield path, f'Invalid value: "{type_name(value)}": {path} in body must be an integer or a string'
        return
    wanted = schema.get("type")
    if wanted and not is_type(value, wanted):
        found = type_name(value)
        yield path, f'Invalid value: "{found}": {path} in body must be of type {wanted}: "{found}"'
        return
    yield from _limits(value, schema, path)
    if isinstance(value, dict):
        yield from _object(value, schema, path)
    elif isinstance(value, list) and isinstance(schema.get("items"), dict):
        for index, one in enumerate(value):
            yield from problems(one, schema["items"], f"{path}[{index}]")


def _object(value, schema, path):
    for name in schema.get("required", ()):
        if name not in value:
            yield f"{path}.{name}".lstrip("."), "Required value"
    known = schema.get("properties") or {}
    more = schema.get("additionalProperties")
    for name, one in value.items():
        inner = known.get(name) or (more if isinstance(more, dict) else None)
        if inner:
            yield from problems(one, inner, f"{path}.{name}".lstrip("."))


def _limits(value, schema, path):
    if "enum" in schema and value not in schema["enum"]:
        supported = ", ".join(f'"{one}"' for one in schema["enum"])
        yield path, f'Unsupported value: "{value}": supported values: {supported}'
    if isinstance(value, str):
        if "pattern" in schema and re.search(schema["pattern"], value) is None:
            yield path, f"Invalid value: \"{value}\": {path} in body should match '{schema['pattern']}'"
        if len(value) > schema.get("maxLength", len(value)):
            yield path, f"Too long: may not be longer than {schema['maxLength']}"
        if len(value) < schema.get("minLength", 0):
            yield path, f'Invalid value: "{value}": {path} in body should be at least {schema["minLength"]} chars long'
    if is_type(value, "number"):
        if value < schema.get("minimum", value):
            yield path, f"Invalid value: {value}: {path} in body should be greater than or equal to {schema['minimum']}"
        if value > schema.get("maximum", value):
            yield path, f"Invalid value: {value}: {path} in body should be less than or equal to {schema['maximum']}"
    if isinstance(value, list) and len(value) > schema.get("maxItems", len(value)):
        yield path, f"Too many: {len(value)}: must have at most {schema['maxItems']} items"


def pruned(value, schema, top=True):
    """Without the fields that the schema does not know, with its defaults."""
    if isinstance(value, list) and isinstance(schema.get("items"), dict):
        return [pruned(one, schema["items"], top=False) for one in value]
    if not isinstance(value, dict):
        return value
    known = schema.get("properties") or {}
    more = schema.get("additionalProperties")
    keeps = schema.get("x-kubernetes-preserve-unknown-fields") or more is True
    kept = {}
    for name, one in value.items():
        if top and name in ("apiVersion", "kind", "metadata"):
            kept[name] = one
        elif name in known:
            kept[name] = pruned(one, known[name], top=False)
        elif isinstance(more, dict):
            kept[name] = pruned(one, more, top=False)
        elif keeps:
            kept[name] = one
    for name, inner in known.items():
        if name not in kept and "default" in inner:
            kept[name] = copy.deepcopy(inner["default"])
    return kept
