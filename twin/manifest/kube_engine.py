"""Which engine runs a pod, and which images an engine can run. Pure."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

from twin.manifest.kube_fields import Engine

if TYPE_CHECKING:
    from twin.manifest.kube import PodSpec

HOST: Final = "host"
FILE: Final = "file:///"
_NAME: Final = r"[a-z0-9]+(?:(?:[._]|__|-+)[a-z0-9]+)*"
_REFERENCE: Final = re.compile(
    rf"(?:(?P<registry>localhost|[A-Za-z0-9-]+(?:\.[A-Za-z0-9-]+)+|[A-Za-z0-9-]+(?=:[0-9]))(?P<port>:[0-9]{{1,5}})?/)?"
    rf"(?P<path>{_NAME}(?:/{_NAME})*)(?P<tag>:[A-Za-z0-9_][A-Za-z0-9_.-]{{0,127}})?(?P<digest>@sha256:[0-9a-f]{{64}})?"
)
_MAX_REFERENCE: Final = 512


def engine_of(spec: PodSpec) -> Engine:
    """The one that ``runtimeClassName`` names; else process if it can run every image, else podman.

    So what runs a pod never depends on what is installed.
    """
    if spec.runtime_class_name in tuple(Engine):
        return Engine(spec.runtime_class_name)
    own = all(is_of_gateway(one.image) for one in spec.all_containers)
    return Engine.PROCESS if own else Engine.PODMAN


def has_own_network(spec: PodSpec) -> bool:
    """Whether a pod is not in the network of the gateway."""
    return engine_of(spec) is Engine.PODMAN and spec.host_network is not True


def is_of_gateway(image: str) -> bool:
    """Whether an image is not one of a registry, but the gateway itself or an archive on it."""
    return image == HOST or image.startswith("file:")


def is_root_folder(image: str) -> bool:
    """Whether an image is an archive of a root folder."""
    return image.startswith(FILE) and image.endswith(".tar") and "/../" not in image


def full_reference(image: str) -> str | None:
    """An image's name with registry and tag, as Kubernetes completes it; None if it is no name of an image."""
    match = _REFERENCE.fullmatch(image) if len(image) <= _MAX_REFERENCE else None
    if match is None:
        return None
    registry = (match["registry"] or "") + (match["port"] or "")
    path = match["path"]
    if not registry or registry == "docker.io":
        registry, path = "docker.io", path if "/" in path else f"library/{path}"
    tag = match["tag"] or ("" if match["digest"] else ":latest")
    return f"{registry}/{path}{'' if match['digest'] else tag}{match['digest'] or ''}"
