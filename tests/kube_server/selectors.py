"""Field and label selectors."""

import re
from functools import partial

from tests.kube_server.errors import bad_request

_SET = re.compile(r"\s*(\S+)\s+(in|notin)\s+\(([^)]*)\)\s*")
FIELDS = {
    "Pod": ("spec.nodeName", "spec.restartPolicy", "spec.schedulerName", "status.phase", "status.podIP"),
    "Node": ("spec.unschedulable",),
    "Event": (
        "involvedObject.kind",
        "involvedObject.name",
        "involvedObject.namespace",
        "involvedObject.uid",
        "reason",
        "type",
    ),
    "Secret": ("type",),
}


def matcher(kind, fields, labels):
    """A test of objects. Raises ApiError for a selector that is not one, or a field that this kind has not."""
    tests = [*_fields(kind, fields or ""), *_labels(labels or "")]
    return lambda one: all(test(one) for test in tests)


def _fields(kind, text):
    for part in filter(None, text.split(",")):
        found = re.fullmatch(r"([^=!]+)(==|!=|=)(.*)", part)
        if not found:
            raise bad_request(f"invalid field selector {part}")
        path, operator, wanted = found.groups()
        if path not in ("metadata.name", "metadata.namespace", *FIELDS.get(kind, ())):
            raise bad_request(f"field label not supported: {path}")
        yield lambda one, path=path, operator=operator, wanted=wanted: (_at(one, path) == wanted) != (operator == "!=")


def _at(value, path):
    for part in path.split("."):
        value = value.get(part) if isinstance(value, dict) else None
    return "" if value is None else str(value)


def _labels(text):
    for part in filter(None, re.split(r",(?![^(]*\))", text)):
        of_set = _SET.fullmatch(part)
        if of_set:
            name, operator, among = of_set.groups()
            wanted = {one.strip() for one in among.split(",")}
            yield lambda one, n=name, w=wanted, o=operator: (_label(one, n) in w) == (o == "in")
        elif "=" in part:
            name, operator, wanted = re.fullmatch(r"\s*([^=!]+?)\s*(==|!=|=)\s*(.*?)\s*", part).groups()
            yield lambda one, n=name, w=wanted, o=operator: (_label(one, n) == w) != (o == "!=")
        elif part.startswith("!"):
            yield partial(_has, part[1:].strip(), there=False)
        else:
            yield partial(_has, part.strip(), there=True)


def _has(name, one, *, there):
    return (_label(one, name) is not None) == there


def _label(one, name):
    return (one["metadata"].get("labels") or {}).get(name)
