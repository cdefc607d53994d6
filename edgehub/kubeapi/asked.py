"""What a request asks for: its path, query and headers, read strictly. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum
from typing import Final
from urllib.parse import parse_qsl, unquote_to_bytes, urlsplit

from edgehub.kubeapi import resources
from edgehub.kubeapi.discovery import api_version, prefix
from edgehub.kubeapi.resources import Resource
from edgehub.kubeapi.selectors import Selector, parse_fields, parse_labels
from edgehub.kubeapi.status import bad_request, invalid, not_acceptable, not_found
from edgehub.kubeapi.table import Include

MAX_LIMIT: Final = 100_000
MAX_TIMEOUT_S: Final = 24 * 3600
DEFAULT_TIMEOUT_S: Final = 30 * 60
_FIELDS: Final = frozenset({"metadata.name", "metadata.namespace"})
_MAX_FIELDS: Final = 30
_TRUE: Final = ("1", "t", "T", "true", "TRUE", "True")
_FALSE: Final = ("0", "f", "F", "false", "FALSE", "False", "")
_ANY: Final = ("*/*", "application/*", "application/json")


class Form(Enum):
    """In which form objects are wanted."""

    OBJECTS = "objects"
    TABLE = "table"


@dataclass(frozen=True, slots=True)
class Discovery:
    """Something beside objects."""

    parts: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Get:
    """One object."""

    resource: Resource
    namespace: str
    name: str
    form: Form
    include: Include


@dataclass(frozen=True, slots=True)
class List:
    """Objects, or a page of them. ``exact``: as they were at ``version``; ``after`` is where the page begins."""

    resource: Resource
    namespace: str
    selector: Selector
    form: Form
    include: Include
    limit: int = 0
    exact: int | None = None
    proceed: str = ""
    not_older: int = 0


@dataclass(frozen=True, slots=True)
class Watch:
    """Changes. ``since`` None: begin with all objects as they are."""

    resource: Resource
    namespace: str
    selector: Selector
    form: Form
    include: Include
    since: int | None
    bookmarks: bool
    ends_initial: bool
    timeout_s: float


def asked(target: str, accept: str) -> Discovery | Get | List | Watch:
    """Read the target and Accept header of a GET. Raises ApiError."""
    try:
        url = urlsplit(target)
    except ValueError:
        raise not_found() from None
    parts = _parts(url.path)
    query = _query(url.query)
    version = api_version(parts)
    rest = parts[len(prefix(version)) :] if version is not None else ()
    if version is None or not rest:
        _form(accept, discovery=True)
        return Discovery(parts)
    namespace = ""
    if rest[0] == "namespaces" and len(rest) > 2 and rest[2] != "status":
        namespace, rest = rest[1], rest[2:]
    resource = resources.found(version, rest[0])
    if resource is None or (namespace and not resource.namespaced):
        raise not_found()
    if len(rest) > 3 or (len(rest) == 3 and rest[2] != "status"):
        raise not_found()
    form, include = _form(accept), _include(query)
    name = rest[1] if len(rest) > 1 else ""
    if name and resource.namespaced and not namespace:
        raise not_found()
    watches = _flag(query, "watch")
    if name and not watches:
        return Get(resource, namespace, name, form, include)
    selector = _selector(query, resource, name)
    if watches:
        return _watch(query, resource, namespace, selector, form, include)
    return _list(query, resource, namespace, selector, form, include)


def _list(
    query: Mapping[str, str], resource: Resource, namespace: str, selector: Selector, form: Form, include: Include
) -> List:
    match, version = query.get("resourceVersionMatch", ""), _version(query)
    proceed = query.get("continue", "")
    if match not in ("", "Exact", "NotOlderThan"):
        message = f"resourceVersionMatch: Unsupported value: {match[:80]!r}: supported values: Exact, NotOlderThan"
        raise invalid(message)
    if match and (version is None or (proceed and version is not None)):
        message = "resourceVersionMatch: Forbidden: it goes with resourceVersion, and not with continue"
        raise invalid(message)
    if match == "Exact" and version == 0:
        message = 'resourceVersionMatch: Forbidden: "Exact" is forbidden for resourceVersion "0"'
        raise invalid(message)
    if proceed and version:
        message = "specifying resource version is not allowed when using continue"
        raise bad_request(message)
    exact = version if match == "Exact" else None
    limit = _number(query, "limit", MAX_LIMIT)
    not_older = 0 if exact else version or 0
    return List(resource, namespace, selector, form, include, limit, exact, proceed, not_older)


def _watch(
    query: Mapping[str, str], resource: Resource, namespace: str, selector: Selector, form: Form, include: Include
) -> Watch:
    bookmarks, match = _flag(query, "allowWatchBookmarks"), query.get("resourceVersionMatch", "")
    initial = _flag(query, "sendInitialEvents")
    if initial and match != "NotOlderThan":
        message = "sendInitialEvents: Forbidden: it needs resourceVersionMatch=NotOlderThan"
        raise invalid(message)
    if match and "sendInitialEvents" not in query:
        message = "resourceVersionMatch: Forbidden: it is forbidden for watch unless sendInitialEvents is provided"
        raise invalid(message)
    version = _version(query)
    since = None if initial or not version else version
    timeout_s = float(_number(query, "timeoutSeconds", MAX_TIMEOUT_S) or DEFAULT_TIMEOUT_S)
    return Watch(resource, namespace, selector, form, include, since, bookmarks, initial and bookmarks, timeout_s)


def _parts(path: str) -> tuple[str, ...]:
    try:
        text = unquote_to_bytes(path).decode()
    except UnicodeDecodeError:
        raise not_found() from None
    parts = text.strip("/").split("/")
    if "" in parts[1:] or "\0" in text:
        raise not_found()
    return tuple(parts)


def _query(text: str) -> dict[str, str]:
    try:
        return dict(parse_qsl(text, keep_blank_values=True, errors="strict", max_num_fields=_MAX_FIELDS))
    except ValueError as error:
        message = f"the query cannot be read: {error}"
        raise bad_request(message) from None


def _selector(query: Mapping[str, str], resource: Resource, name: str) -> Selector:
    fields = parse_fields(query.get("fieldSelector", ""), _FIELDS | resource.fields)
    if name:
        fields += parse_fields(f"metadata.name={name}", _FIELDS)
    return Selector(parse_labels(query.get("labelSelector", "")), fields)


def _flag(query: Mapping[str, str], key: str) -> bool:
    text = query.get(key, "")
    if text not in (*_TRUE, *_FALSE):
        message = f"{key}: {text[:80]!r} is neither true nor false"
        raise bad_request(message)
    return text in _TRUE


def _number(query: Mapping[str, str], key: str, most: int) -> int:
    text = query.get(key, "")
    if text and not (text.isascii() and text.isdecimal() and len(text) < 20):
        message = f"{key}: {text[:80]!r} is not a whole number from 0 up"
        raise bad_request(message)
    return min(int(text or "0"), most)


def _version(query: Mapping[str, str]) -> int | None:
    text = query.get("resourceVersion", "")
    if not text:
        return None
    if not (text.isascii() and text.isdecimal() and len(text) < 20):
        message = f"resourceVersion: Invalid value: {text[:80]!r}: it is none of this API"
        raise bad_request(message)
    return int(text)


def _include(query: Mapping[str, str]) -> Include:
    text = query.get("includeObject", "") or Include.METADATA.value
    try:
        return Include(text)
    except ValueError:
        message = f"includeObject: {text[:80]!r} is none of None, Metadata, Object"
        raise bad_request(message) from None


def _form(accept: str, *, discovery: bool = False) -> Form:
    """The first acceptable form that is served. Raises ApiError (406)."""
    for one in (accept or "*/*").split(","):
        kind, *parameters = (part.strip() for part in one.split(";"))
        said = dict(part.split("=", 1) for part in parameters if "=" in part)
        if kind.lower() not in _ANY or said.get("q") in ("0", "0.0"):
            continue
        if "as" not in said:
            return Form.OBJECTS
        if discovery:
            continue
        if (said["as"], said.get("g"), said.get("v")) == ("Table", "meta.k8s.io", "v1"):
            return Form.TABLE
    raise not_acceptable()
