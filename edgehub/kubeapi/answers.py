"""Answers to lists, gets and watches, from a view. Pure: bytes come out, and nothing waits."""

from __future__ import annotations

import base64
import json
from dataclasses import dataclass
from typing import Final

from edgehub.kubeapi.asked import Form, Get, List, Watch
from edgehub.kubeapi.objects import Json
from edgehub.kubeapi.status import ApiError, bad_request, expired, not_found
from edgehub.kubeapi.table import Include, table
from edgehub.kubeapi.view import Change, Expired, Item, ObjectKey, View
from twin.model import Value

INITIAL_END: Final = "k8s.io/initial-events-end"


def to_json(value: Value) -> bytes:
    """JSON as it is sent."""
    return json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode()


def got(view: View, get: Get) -> bytes:
    """One object. Raises ApiError (404)."""
    item = view.get(get.resource, ObjectKey(get.namespace, get.name))
    if item is None:
        message = f'{get.resource.qualified} "{get.name}" not found'
        raise not_found(message)
    if get.form is Form.TABLE:
        return to_json(table(get.resource, [item.text()], item.version, get.include))
    return item.text().encode()


def listed(view: View, wanted: List) -> bytes:
    """Objects, or a page of them. Raises ApiError (400, 410)."""
    page = _Page.read(wanted.proceed) if wanted.proceed else _Page(wanted.exact or view.version, ObjectKey("", ""))
    if wanted.not_older > view.version:
        raise expired(wanted.not_older)  # of another life of the gateway
    try:
        items = view.items(wanted.resource, page.version)
    except Expired:
        raise expired(page.version) from None
    items = [one for one in items if one.content.key > page.after and _wants(wanted, one)]
    more = len(items) - wanted.limit if wanted.limit else 0
    about: Json = {"resourceVersion": str(page.version)}
    if more > 0:
        items = items[: wanted.limit]
        about["continue"] = _Page(page.version, items[-1].content.key).text()
        about["remainingItemCount"] = more
    if wanted.form is Form.TABLE:
        made = table(wanted.resource, (one.text() for one in items), page.version, wanted.include)
        return to_json({**made, "metadata": about})
    head: Json = {"kind": f"{wanted.resource.kind}List", "apiVersion": wanted.resource.api_version, "metadata": about}
    texts = ",".join(one.text() for one in items)
    return f'{to_json(head).decode()[:-1]},"items":[{texts}]}}'.encode()


class Following:
    """One watch: where it stands, and the lines that it is to be sent next."""

    def __init__(self, view: View, watch: Watch) -> None:
        self._view = view
        self._watch = watch
        self._version = view.version if watch.since is None else watch.since
        self._begun = watch.since is not None

    def start(self) -> None:
        """See that the watch can begin where it wants to. Raises ApiError (410)."""
        try:
            self._view.since(self._watch.resource, self._version)
        except Expired:
            raise expired(self._version) from None

    def lines(self) -> list[bytes]:
        """What has happened since the last call. Raises ApiError (410) if it was too long ago."""
        watch, lines = self._watch, []
        if not self._begun:
            self._begun = True
            self._version = self._view.version
            items = (one for one in self._view.items(watch.resource) if _wants(watch, one))
            lines = [self._line("ADDED", one, one.version) for one in items]
            if watch.bookmarks:
                lines.append(self.bookmark(initial_end=watch.ends_initial))
        try:
            changes = self._view.since(watch.resource, self._version)
        except Expired:
            raise expired(self._version) from None
        lines += [self._line(*told) for one in changes if (told := _told(watch, one)) is not None]
        self._version = self._view.version
        return lines

    def bookmark(self, *, initial_end: bool = False) -> bytes:
        """Tell how far the watch has come."""
        about: Json = {"resourceVersion": str(self._version), "creationTimestamp": None}
        if initial_end:
            about["annotations"] = {INITIAL_END: "true"}
        resource = self._watch.resource
        mark: Json = {"kind": resource.kind, "apiVersion": resource.api_version, "metadata": about}
        if self._watch.form is Form.TABLE:
            mark = {**table(resource, [], self._version, Include.NONE), "rows": [{"cells": [], "object": mark}]}
        return to_json({"type": "BOOKMARK", "object": mark}) + b"\n"

    @property
    def wants_bookmarks(self) -> bool:
        """Whether the client has asked for them."""
        return self._watch.bookmarks

    def _line(self, type_: str, item: Item, version: int) -> bytes:
        text = item.text(version)
        if self._watch.form is Form.TABLE:
            text = to_json(table(self._watch.resource, [text], version, self._watch.include)).decode()
        return f'{{"type":"{type_}","object":{text}}}\n'.encode()


def error_line(error: ApiError) -> bytes:
    """The last line of a watch that cannot go on."""
    return to_json({"type": "ERROR", "object": error.body()}) + b"\n"


def _told(watch: Watch, change: Change) -> tuple[str, Item, int] | None:
    """What a watch is told of a change: by what it wanted of the object before and wants of it now."""
    old = change.old if change.old is not None and _wants(watch, change.old) else None
    new = change.new if change.new is not None and _wants(watch, change.new) else None
    if new is not None:
        return ("ADDED" if old is None else "MODIFIED"), new, change.version
    if old is not None:
        return "DELETED", old, change.version
    return None


def _wants(wanted: List | Watch, item: Item) -> bool:
    content = item.content
    if wanted.namespace and content.key.namespace != wanted.namespace:
        return False
    return wanted.selector.wants(content.labels, content.fields)


@dataclass(frozen=True, slots=True)
class _Page:
    """Where a further page begins, and of which version it is."""

    version: int
    after: ObjectKey

    def text(self) -> str:
        return base64.urlsafe_b64encode(to_json([self.version, *self.after])).decode()

    @classmethod
    def read(cls, text: str) -> _Page:
        try:
            version, namespace, name = json.loads(base64.b64decode(text.encode(), altchars=b"-_", validate=True))
            if type(version) is int and isinstance(namespace, str) and isinstance(name, str):
                return cls(version, ObjectKey(namespace, name))
        except (ValueError, TypeError, RecursionError):
            pass
        message = "continue key is not valid: it is none of this API"
        raise bad_request(message)
