"""The four patches: JSON, merge, strategic (lists merged by key) and apply (fields have managers)."""

import copy
import json

from tests.kube_server.errors import ApiError, bad_request

MERGE_KEYS = {
    "containers": "name",
    "initContainers": "name",
    "ephemeralContainers": "name",
    "env": "name",
    "volumes": "name",
    "volumeMounts": "mountPath",
    "volumeDevices": "devicePath",
    "conditions": "type",
    "addresses": "type",
    "taints": "key",
    "ownerReferences": "uid",
    "imagePullSecrets": "name",
    "hostAliases": "ip",
    "topologySpreadConstraints": "topologyKey",
    "secrets": "name",
    "images": "names",
}
SETS = {"finalizers", "podCIDRs"}


def merge_key(name, parent):
    """The key by which a list of a built-in kind is merged; None: the list is one value."""
    if name == "ports":
        return "port" if "clusterIP" in parent or "sessionAffinity" in parent else "containerPort"
    return MERGE_KEYS.get(name)


# -- JSON patch ------------------------------------------------------------------------------------------------------


def json_patched(value, operations):
    if not isinstance(operations, list):
        raise bad_request("a JSON patch is a list")
    value = copy.deepcopy(value)
    for one in operations:
        try:
            value = _operate(value, one)
        except (KeyError, IndexError, TypeError, ValueError) as error:
            message = f"the server rejected our request due to an error in our request: {one}: {error}"
            raise ApiError(422, "Invalid", message) from None
    return value


def _operate(value, one):
    path, kind = _pointer(one["path"]), one["op"]
    if kind in ("move", "copy"):
        moved = copy.deepcopy(_at(value, _pointer(one["from"])))
        if kind == "move":
            value = _operate(value, {"op": "remove", "path": one["from"]})
        return _operate(value, {"op": "add", "path": one["path"], "value": moved})
    if kind == "test":
        if _at(value, path) != one["value"]:
            raise ValueError(f"testing value {one['path']} failed")
        return value
    if not path:
        return one["value"]
    holder, last = _at(value, path[:-1]), path[-1]
    if isinstance(holder, list):
        _operate_list(holder, len(holder) if last == "-" else int(last), kind, one)
    elif kind == "remove":
        del holder[last]
    elif kind == "replace" and last not in holder:
        raise KeyError(one["path"])
    else:
        holder[last] = one["value"]
    return value


def _operate_list(holder, index, kind, one):
    if kind == "add":
        if index > len(holder):
            raise IndexError("index beyond the end")
        holder.insert(index, one["value"])
    elif kind == "replace":
        holder[index] = one["value"]
    else:
        del holder[index]


def _pointer(text):
    return [part.replace("~1", "/").replace("~0", "~") for part in text.split("/")[1:]]


def _at(value, path):
    for part in path:
        value = value[int(part)] if isinstance(value, list) else value[part]
    return value


# -- merge patch -----------------------------------------------------------------------------------------------------


def merged(value, patch):
    if not isinstance(patch, dict):
        return patch
    value = dict(value) if isinstance(value, dict) else {}
    for name, one in patch.items():
        if one is None:
            value.pop(name, None)
        else:
            value[name] = merged(value.get(name), one)
    return value


# -- strategic merge patch -------------------------------------------------------------------------------------------


def strategic(value, patch):
    if not isinstance(patch, dict):
        return patch
    if patch.get("$patch") == "replace":
        return {name: one for name, one in patch.items() if name != "$patch"}
    value = dict(value) if isinstance(value, dict) else {}
    if "$retainKeys" in patch:
        value = {name: one for name, one in value.items() if name in patch["$retainKeys"]}
    for name, one in patch.items():
        if name.startswith("$deleteFromPrimitiveList/"):
            field = name.partition("/")[2]
            value[field] = [there for there in value.get(field, []) if there not in one]
    for name, one in patch.items():
        if name.startswith("$"):
            continue
        if one is None:
            value.pop(name, None)
        elif isinstance(one, list):
            value[name] = _list(value.get(name) or [], one, name, {**value, **patch})
        else:
            value[name] = strategic(value.get(name), one)
    return value


def _list(there, patch, name, parent):
    if name in SETS:
        return [*there, *(one for one in patch if one not in there)]
    key = merge_key(name, parent)
    if key is None or any(not isinstance(one, dict) for one in patch):
        return patch
    if {"$patch": "replace"} in patch:
        return [one for one in patch if one != {"$patch": "replace"}]
    found = [dict(one) for one in there]
    for one in patch:
        place = next((index for index, old in enumerate(found) if old.get(key) == one.get(key)), None)
        if one.get("$patch") == "delete":
            if place is not None:
                del found[place]
        elif place is None:
            found.append(strategic({}, one))
        else:
            found[place] = strategic(found[place], one)
    return found


# -- apply -----------------------------------------------------------------------------------------------------------

Path = tuple[str, ...]


def leaves(value, keyed, path: Path = (), name="", parent=None):
    """The paths of all single values. ``keyed``: whether lists of built-in kinds are merged by key."""
    if isinstance(value, dict) and value:
        for inner, one in value.items():
            if path or inner not in ("apiVersion", "kind"):
                yield from leaves(one, keyed, (*path, f"f:{inner}"), inner, value)
        return
    key = merge_key(name, parent or {}) if keyed and isinstance(value, list) else None
    if key is not None and value and all(isinstance(one, dict) and key in one for one in value):
        for one in value:
            place = "k:" + json.dumps({key: one[key]}, separators=(",", ":"))
            yield from leaves(one, keyed, (*path, place), place, one)
        return
    yield path


def at(value, path: Path):
    """The value of a path; raises KeyError."""
    for part in path:
        if part.startswith("f:"):
            if not isinstance(value, dict):
                raise KeyError(part)
            value = value[part[2:]]
        else:
            value = _element(value, part)
    return value


def _element(value, part):
    ((key, wanted),) = json.loads(part[2:]).items()
    for one in value if isinstance(value, list) else ():
        if isinstance(one, dict) and one.get(key) == wanted:
            return one
    raise KeyError(part)


def put(value, path: Path, new):
    for index, part in enumerate(path):
        last = index == len(path) - 1
        following = [] if not last and path[index + 1].startswith("k:") else {}
        if part.startswith("f:"):
            if last:
                value[part[2:]] = copy.deepcopy(new)
            else:
                if not isinstance(value.get(part[2:]), dict | list):
                    value[part[2:]] = following
                value = value[part[2:]]
        else:
            try:
                value = _element(value, part)
            except KeyError:
                value.append(json.loads(part[2:]))
                value = value[-1]


def drop(value, path: Path):
    """Remove a path, and what is empty above it."""
    part, rest = path[0], path[1:]
    try:
        inner = at(value, (part,))
    except KeyError:
        return
    if rest:
        drop(inner, rest)
        alone = part.startswith("k:") and inner == json.loads(part[2:])
        if inner not in ({}, []) and not alone:
            return
    if part.startswith("f:"):
        value.pop(part[2:], None)
    else:
        value.remove(inner)


def to_fields(paths):
    fields: dict = {}
    for path in sorted(paths):
        place = fields
        for part in path:
            place = place.setdefault(part, {})
    return fields


def from_fields(fields, path: Path = ()):
    if not fields:
        yield path
        return
    for part, inner in fields.items():
        yield from from_fields(inner, (*path, part))
