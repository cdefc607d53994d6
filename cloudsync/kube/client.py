"""Requests to the Kubernetes API: lightkube knows the address, the certificates and the login, JSON goes over httpx.

Objects stay whole: a typed client drops the fields that its types do not name, and what a gateway cannot do is to be
refused, never dropped.
"""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import httpx2
import msgspec
import yaml
from lightkube.config.client_adapter import AsyncClient, ConnectionParams
from lightkube.config.kubeconfig import KubeConfig
from lightkube.core.exceptions import ConfigError

from cloudsync.kube.errors import Absent, Busy, Conflict, Denied, Expired, KubeError, Rejected, Unreachable
from cloudsync.kube.objects import KubeObject, Place, Resource, part, parts, read_object, text
from twin.model import Value

PAGE: Final = 500
MANAGER: Final = "edgetwin"
WATCH_S: Final = 300
SILENT_S: Final = 90.0
"""A watch is marked about every minute; one that says nothing for longer has lost its other end."""
_TIMEOUT_S: Final = 20.0
_MERGE: Final = "application/merge-patch+json"
_NO_CONFIG: Final = (
    *(ConfigError, yaml.YAMLError, msgspec.MsgspecError, OSError),
    *(AttributeError, KeyError, TypeError, ValueError, AssertionError),
)
"""What lightkube raises for a file that is no kubeconfig; it checks little of one."""
_REMEDY: Final = "docs/kubernetes.md says which roles the account needs."


@dataclass(frozen=True, slots=True)
class Listing:
    """All objects of a resource, as they were at one version."""

    objects: tuple[KubeObject, ...]
    version: str


@dataclass(frozen=True, slots=True)
class Event:
    """One line of a watch: an object that is there or ``gone``, or a mark (None) that only moves the version on."""

    version: str
    object: KubeObject | None = None
    gone: bool = False


class KubeClient:
    """One API server. Every method raises KubeError."""

    def __init__(self, http: httpx2.AsyncClient) -> None:
        self._http = http

    async def listed(self, resource: Resource, namespace: str = "", *, fields: str = "", labels: str = "") -> Listing:
        """All objects, page by page."""
        query: dict[str, str] = {"limit": str(PAGE)}
        query |= {"fieldSelector": fields} if fields else {}
        query |= {"labelSelector": labels} if labels else {}
        found: list[KubeObject] = []
        while True:
            body = await self._ask("GET", resource.path(namespace), query=query)
            items = body.get("items")
            each = (read_object(one, resource) for one in items) if isinstance(items, list) else ()
            found.extend(one for one in each if one is not None)
            metadata = part(body, "metadata")
            query["continue"] = text(metadata, "continue")
            if not query["continue"]:
                return Listing(tuple(found), text(metadata, "resourceVersion"))

    async def version_now(self, resource: Resource, namespace: str = "") -> str:
        """The version that the API server is at."""
        body = await self._ask("GET", resource.path(namespace), query={"limit": "1"})
        return text(part(body, "metadata"), "resourceVersion")

    async def watch(
        self, resource: Resource, namespace: str, version: str, *, fields: str = "", labels: str = ""
    ) -> AsyncIterator[Event]:
        """Changes after a version, until the server ends it. Raises Expired, Unreachable and the others."""
        query = {"watch": "1", "resourceVersion": version, "allowWatchBookmarks": "true"}
        query |= {"timeoutSeconds": str(WATCH_S)}
        query |= {"fieldSelector": fields} if fields else {}
        query |= {"labelSelector": labels} if labels else {}
        timeout = httpx2.Timeout(_TIMEOUT_S, read=SILENT_S)
        path = resource.path(namespace)
        try:
            async with self._http.stream("GET", path, params=query, timeout=timeout) as answer:
                if answer.status_code >= 400:
                    await answer.aread()
                    raise _error(answer, f"GET {path}")
                async for line in answer.aiter_lines():
                    if line:
                        yield _event(line, resource)
        except (httpx2.HTTPError, OSError, httpx2.StreamError) as error:
            raise _unreachable(error, path) from error

    async def get(self, resource: Resource, place: Place) -> KubeObject:
        """One object."""
        return _read(await self._ask("GET", resource.path(*place)), resource)

    async def create(self, resource: Resource, namespace: str, body: Mapping[str, Value]) -> KubeObject:
        """Make an object."""
        whole = {"apiVersion": resource.api_version, "kind": resource.kind, **body}
        query = {"fieldManager": MANAGER}
        return _read(await self._ask("POST", resource.path(namespace), query=query, body=whole), resource)

    async def merge(self, resource: Resource, place: Place, patch: Mapping[str, Value], sub: str = "") -> KubeObject:
        """Change an object by a merge patch; ``resourceVersion`` or ``uid`` in its metadata is a precondition."""
        query = {"fieldManager": MANAGER}
        path = resource.path(place.namespace, place.name, sub)
        return _read(await self._ask("PATCH", path, query=query, body=patch, content=_MERGE), resource)

    async def delete(self, resource: Resource, place: Place, *, uid: str, grace_s: int | None = None) -> None:
        """Delete one life of an object."""
        options: dict[str, Value] = {"apiVersion": "v1", "kind": "DeleteOptions", "preconditions": {"uid": uid}}
        options |= {} if grace_s is None else {"gracePeriodSeconds": grace_s}
        await self._ask("DELETE", resource.path(*place), body=options)

    async def serves(self, resource: Resource, sub: str = "") -> bool:
        """Whether the API server has the resource, or a subresource of it."""
        try:
            body = await self._ask("GET", resource.path().rpartition("/")[0])
        except Absent:
            return False
        wanted = f"{resource.plural}/{sub}" if sub else resource.plural
        return any(one.get("name") == wanted for one in parts(body, "resources"))

    async def _ask(
        self,
        method: str,
        path: str,
        *,
        query: Mapping[str, str] | None = None,
        body: Mapping[str, Value] | None = None,
        content: str = "application/json",
    ) -> Mapping[str, Value]:
        data = None if body is None else json.dumps(body).encode()
        headers = {"Content-Type": content} if data is not None else {}
        try:
            answer = await self._http.request(method, path, params=query, content=data, headers=headers)
        except (httpx2.HTTPError, OSError) as error:
            raise _unreachable(error, path) from error
        if answer.status_code >= 400:
            raise _error(answer, f"{method} {path}")
        try:
            found = answer.json()
        except ValueError:
            message = f"{method} {path}: the answer is not JSON"
            raise Unreachable(message) from None
        return found if isinstance(found, dict) else {}


@asynccontextmanager
async def connected(kubeconfig: str, context: str) -> AsyncIterator[KubeClient]:
    """A client of the cluster that a file, or with an empty name the pod that we run in, leads to."""
    try:
        config = KubeConfig.from_file(Path(kubeconfig)) if kubeconfig else KubeConfig.from_service_account()
        single = config.get(context or None)
        if single is None:
            message = f"{kubeconfig}: there is no context {context}"
            raise ConfigError(message)
        http = AsyncClient(single, ConnectionParams(timeout=httpx2.Timeout(_TIMEOUT_S), trust_env=False))
    except _NO_CONFIG as error:
        where = kubeconfig or "the service account of this pod"
        message = f"the cluster cannot be found by {where}: {error}"
        raise KubeError(message, remedy="Name a kubeconfig that kubectl works with in kube.kubeconfig.") from None
    async with http:
        yield KubeClient(http)


def _read(body: Mapping[str, Value], resource: Resource) -> KubeObject:
    found = read_object(dict(body), resource)
    if found is None:
        message = f"the API server answered with something that is no {resource.kind}"
        raise Unreachable(message)
    return found


def _event(line: str, resource: Resource) -> Event:
    try:
        body = json.loads(line)
    except ValueError:
        message = f"a watch of {resource.plural} ended in the middle of a line"
        raise Unreachable(message) from None
    value = body.get("object") if isinstance(body, dict) else None
    kind = body.get("type") if isinstance(body, dict) else None
    if kind == "ERROR":
        status = value if isinstance(value, dict) else {}
        raise _by_code(int(status.get("code") or 500), f"watch of {resource.plural}: {text(status, 'message')}", 0.0)
    if kind == "BOOKMARK" and isinstance(value, dict):
        return Event(text(part(value, "metadata"), "resourceVersion"))
    read = read_object(value, resource)
    if read is None:
        message = f"a watch of {resource.plural} told of something that is no object"
        raise Unreachable(message)
    return Event(read.version, read, gone=kind == "DELETED")


def _unreachable(error: Exception, path: str) -> Unreachable:
    return Unreachable(f"the API server does not answer {path}: {type(error).__name__} {error}".rstrip())


def _error(answer: httpx2.Response, what: str) -> KubeError:
    try:
        body = answer.json()
    except ValueError:
        body = {}
    said = text(body, "message") if isinstance(body, dict) else ""
    try:
        wait_s = float(answer.headers.get("Retry-After", "0"))
    except ValueError:
        wait_s = 0.0
    return _by_code(answer.status_code, f"{what}: {said or answer.status_code}", wait_s)


def _by_code(code: int, message: str, wait_s: float) -> KubeError:
    if code in (401, 403):
        return Denied(message, remedy=_REMEDY)
    if code == 429 or code >= 500:
        return Busy(message, retry_after_s=wait_s)
    found = {404: Absent, 409: Conflict, 410: Expired}.get(code, Rejected)
    return found(message)
