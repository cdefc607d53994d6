"""What a client asks before it asks for objects: versions, groups and resources. Pure."""

from __future__ import annotations

import platform
from typing import Final

from edgehub.kubeapi.objects import Json
from edgehub.kubeapi.resources import ALL, Resource
from edgehub.kubeapi.status import not_found
from twin.manifest.kube import V1
from twin.model import Value

KUBERNETES: Final = (1, 28)
"""The release whose answers ours are like; clients choose their ways by it."""
_VERBS: Final[list[Value]] = ["get", "list", "watch"]


def found(parts: tuple[str, ...], release: str, address: str) -> Json | str:
    """The answer to a path that names no objects; text for health. Raises ApiError (404)."""
    if parts in (("healthz",), ("livez",), ("readyz",)):
        return "ok"
    if parts == ("version",):
        return _version(release)
    if parts == ("api",):
        addresses: list[Value] = [{"clientCIDR": "0.0.0.0/0", "serverAddress": address}]
        return {"kind": "APIVersions", "versions": [V1], "serverAddressByClientCIDRs": addresses}
    if parts == ("apis",):
        return {"kind": "APIGroupList", "apiVersion": V1, "groups": [_group(name) for name in _groups()]}
    if parts == ("openapi", "v2"):
        return {"swagger": "2.0", "info": {"title": "edgetwin", "version": release}, "paths": {}, "definitions": {}}
    if len(parts) == 2 and parts[0] == "apis" and parts[1] in _groups():
        return {"kind": "APIGroup", "apiVersion": V1, **_group(parts[1])}
    version = api_version(parts)
    if version is not None and len(parts) == len(prefix(version)):
        served: list[Value] = [_resource(one) for one in ALL if one.api_version == version]
        return {"kind": "APIResourceList", "apiVersion": V1, "groupVersion": version, "resources": served}
    raise not_found()


def prefix(version: str) -> tuple[str, ...]:
    """The beginning of the paths of a group and version."""
    return ("api", version) if "/" not in version else ("apis", *version.split("/"))


def api_version(parts: tuple[str, ...]) -> str | None:
    """The group and version that a path begins with; None if they are not served."""
    return next((known for known in _versions() if parts[: len(prefix(known))] == prefix(known)), None)


def _versions() -> list[str]:
    return list(dict.fromkeys(one.api_version for one in ALL))


def _groups() -> list[str]:
    return list(dict.fromkeys(one.group for one in ALL if one.group))


def _group(name: str) -> Json:
    versions: list[Json] = [
        {"groupVersion": one, "version": one.rpartition("/")[2]} for one in _versions() if one.startswith(f"{name}/")
    ]
    return {"name": name, "versions": [*versions], "preferredVersion": versions[0]}


def _resource(resource: Resource) -> Json:
    return {
        "name": resource.plural,
        "singularName": resource.kind.lower(),
        "namespaced": resource.namespaced,
        "kind": resource.kind,
        "verbs": _VERBS,
        "shortNames": list(resource.short),
    }


def _version(release: str) -> Json:
    major, minor = KUBERNETES
    return {
        "major": str(major),
        "minor": str(minor),
        "gitVersion": f"v{major}.{minor}.0-edgetwin.{release}",
        "gitCommit": "",
        "gitTreeState": "clean",
        "buildDate": "1970-01-01T00:00:00Z",
        "goVersion": "",
        "compiler": platform.python_implementation(),
        "platform": f"linux/{platform.machine()}",
    }
