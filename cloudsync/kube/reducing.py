"""A Pod as an API server has it, reduced to what a gateway is asked to do. Pure.

An API server fills in defaults, and admission adds more. What only repeats how a gateway works anyway, or is for the
cluster alone, is left out; docs/kubernetes.md lists it. All else goes to the strict reader of documents, which refuses
what a gateway cannot do with the path of the field.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final, TypeAlias

from cloudsync.kube.marks import marked
from cloudsync.kube.objects import KubeObject, part, parts, text
from twin.manifest.document import Document
from twin.manifest.kube_engine import is_of_gateway
from twin.manifest.problems import InvalidManifest, KeyPath, Problem, path_text
from twin.manifest.read import read_parsed
from twin.manifest.yaml import Parsed
from twin.model import Value

Said: TypeAlias = Mapping[str, Value]
Pure: TypeAlias = Callable[[Value], bool]
"""Whether a value says no more than a gateway does anyway."""

TOKEN_VOLUME: Final = "kube-api-access-"
TOKEN_PLACE: Final = "/var/run/secrets/kubernetes.io/serviceaccount"
_FILE_MODE: Final = 0o644


def _any(_: Value) -> bool:
    return True


def _empty(value: Value) -> bool:
    return value in (None, {}, [], "", False)


def _is(*values: Value) -> Pure:
    return lambda value: value in values


_OF_POD: Final[Mapping[str, Pure]] = {
    # for the cluster's scheduler and controllers
    **dict.fromkeys(("tolerations", "schedulerName", "priority", "priorityClassName", "preemptionPolicy"), _any),
    **dict.fromkeys(("nodeSelector", "affinity", "topologySpreadConstraints", "overhead", "resourceClaims"), _any),
    "schedulingGates": _any,
    # a gateway has no API server to log in to, and no logins of registries but its own
    **dict.fromkeys(("serviceAccountName", "serviceAccount", "automountServiceAccountToken"), _any),
    "imagePullSecrets": _any,
    # what a gateway does anyway
    "enableServiceLinks": _any,
    "dnsPolicy": _is("ClusterFirst", "ClusterFirstWithHostNet", "Default"),
    "securityContext": _empty,
    "os": _is({"name": "linux"}),
    "runtimeClassName": _empty,
    **dict.fromkeys(("hostPID", "hostIPC", "hostUsers", "shareProcessNamespace", "setHostnameAsFQDN"), _empty),
    **dict.fromkeys(("hostNetwork", "readinessGates", "ephemeralContainers", "hostAliases", "dnsConfig"), _empty),
}
_OF_CONTAINER: Final[Mapping[str, Pure]] = {
    "terminationMessagePath": _is("/dev/termination-log"),
    "terminationMessagePolicy": _is("File"),
    "securityContext": _empty,
    **dict.fromkeys(("stdin", "stdinOnce", "tty", "volumeDevices"), _empty),
    "resizePolicy": _any,
}


def reduced(pod: KubeObject, gateway: str, cluster: str) -> Document:
    """The document of a pod at a gateway. Raises InvalidManifest with each field that a gateway cannot do."""
    spec = _without(pod.spec, _OF_POD)
    problems: list[Problem] = []
    volumes = parts(spec, "volumes")
    tokens = {text(one, "name") for one in volumes if _is_token(one)}
    if volumes:
        kept = [(index, one) for index, one in enumerate(volumes) if text(one, "name") not in tokens]
        spec["volumes"] = [_volume(pod, one, ("spec", "volumes", index), problems) for index, one in kept]
    for key in ("initContainers", "containers"):
        if key in spec:
            spec[key] = [_container(one, tokens) for one in parts(spec, key)]
    spec["nodeName"] = gateway
    if problems:
        raise InvalidManifest(problems)
    return read(pod, {"metadata": marked(pod.metadata, cluster), "spec": spec})


def read(one: KubeObject, body: Mapping[str, Value]) -> Document:
    """Read a document that was made of an object. Raises InvalidManifest."""
    kind = text(one.raw, "kind")
    whole: Value = {"apiVersion": one.raw["apiVersion"], "kind": kind, **body}
    return read_parsed([Parsed(f"{kind} {one.place}", whole)]).documents[0]


def _without(said: Said, pure: Mapping[str, Pure]) -> dict[str, Value]:
    return {name: one for name, one in said.items() if not (name in pure and pure[name](one))}


def _is_token(volume: Said) -> bool:
    """Whether it is the volume with the API's token, which admission adds to every pod."""
    sources = parts(part(volume, "projected"), "sources")
    return text(volume, "name").startswith(TOKEN_VOLUME) and any("serviceAccountToken" in one for one in sources)


def _volume(pod: KubeObject, volume: Said, path: KeyPath, problems: list[Problem]) -> Value:
    made = dict(volume)
    for kind in ("configMap", "secret"):
        source = dict(part(volume, kind))
        mode = source.pop("defaultMode", _FILE_MODE)
        if mode != _FILE_MODE:
            where = path_text((*path, kind, "defaultMode"))
            message = "files of a gateway's volumes have the mode 0644"
            problems.append(Problem(f"Pod {pod.place}", 0, where, message, "Leave it out."))
        if source:
            made[kind] = source
    return made


def _container(container: Said, tokens: set[str]) -> Value:
    made = _without(container, _OF_CONTAINER)
    if is_of_gateway(text(made, "image")):
        made.pop("imagePullPolicy", None)  # of an image without a tag an API server says Always; this one is not pulled
    mounts = [one for one in parts(made, "volumeMounts") if not _is_token_mount(one, tokens)]
    if "volumeMounts" in made:
        made["volumeMounts"] = [_without(one, {"recursiveReadOnly": _is("Disabled")}) for one in mounts]
    return made


def _is_token_mount(mount: Said, tokens: set[str]) -> bool:
    return text(mount, "name") in tokens and text(mount, "mountPath") == TOKEN_PLACE
