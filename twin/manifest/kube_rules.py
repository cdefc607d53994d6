"""What must hold inside a document of Kubernetes' kinds beyond the types of its fields. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import chain
from typing import Final

from twin.manifest.document import MESH, NETWORK, Document, DocumentKind
from twin.manifest.kinds import Part
from twin.manifest.kube import ConfigMap, Container, EnvVar, PodSpec, Probe, Secret
from twin.manifest.kube_engine import HOST, engine_of, full_reference, has_own_network, is_of_gateway, is_root_folder
from twin.manifest.kube_fields import MAX_BYTES, Engine, PullPolicy
from twin.manifest.problems import KeyPath, Problem, suggestion

ENGINES: Final = tuple(str(engine) for engine in Engine)
RESERVED_NAMES: Final = ("kube-root-ca.crt",)
RESERVED_PREFIX: Final = "edgetwin-"


def broken_kube_rules(document: Document) -> Iterator[Problem]:
    """Find what is wrong inside one document of Kubernetes' kinds; nothing for other kinds."""
    spec = document.spec
    if document.kind is DocumentKind.GATEWAY:
        yield from _gateway(document)
        return
    later = (*NETWORK, *MESH, DocumentKind.DEPLOYMENT)
    if not isinstance(spec, PodSpec | ConfigMap | Secret) and document.kind not in later:
        return
    if document.name in RESERVED_NAMES or document.name.startswith(RESERVED_PREFIX):
        text = f"the name {document.name} is reserved"
        remedy = f"Names that begin with {RESERVED_PREFIX} are the gateway's, {RESERVED_NAMES[0]} is Kubernetes' own."
        yield document.problem(("metadata", "name"), text, remedy)
    if isinstance(spec, PodSpec):
        yield from _pod(document, spec, ("spec",))
        from twin.manifest.placement_rules import broken_placement  # what few documents need is loaded with the first

        yield from broken_placement(document, annotations_of(document), spec.tolerations, (), ("spec",))
    elif document.kind is DocumentKind.DEPLOYMENT:
        yield from _deployment(document)
    elif isinstance(spec, ConfigMap):
        yield from _too_large(document, "data", [*spec.data.values(), *spec.binary_data.values()])
        yield from _twice(document, ("binaryData",), [key for key in spec.binary_data if key in spec.data])
    elif isinstance(spec, Secret):
        yield from _too_large(document, "data", [*spec.data.values(), *spec.string_data.values()])
    elif document.kind in MESH:
        from twin.manifest.mesh_rules import broken_mesh_rules

        yield from broken_mesh_rules(document)
    else:
        from twin.manifest.kube_network_rules import broken_network_rules

        yield from broken_network_rules(document)


def _deployment(document: Document) -> Iterator[Problem]:
    from twin.manifest.placement_rules import broken_deployment, broken_placement
    from twin.manifest.workloads import DeploymentSpec

    spec = document.spec
    assert isinstance(spec, DeploymentSpec)
    template: KeyPath = ("spec", "template")
    yield from broken_deployment(document, spec)
    yield from _pod(document, spec.template.spec, (*template, "spec"))
    said = spec.template.metadata.annotations
    yield from broken_placement(document, said, spec.template.spec.tolerations, template, (*template, "spec"))


def _gateway(document: Document) -> Iterator[Problem]:
    from twin.manifest.placement_rules import broken_gateway
    from twin.manifest.workloads import GatewaySpec

    assert isinstance(document.spec, GatewaySpec)
    yield from broken_gateway(document, document.spec)


def _too_large(document: Document, path: str, texts: Sequence[str]) -> Iterator[Problem]:
    size = sum(len(text.encode()) for text in texts)
    if size > 2 * MAX_BYTES or (document.kind == "ConfigMap" and size > MAX_BYTES):  # a Secret is kept in base64
        text = f"it holds {size} bytes, over the {MAX_BYTES} that a {document.kind} may have"
        yield document.problem((path,), text, "Keep large files on the gateway and mount them with hostPath.")


def _twice(document: Document, path: KeyPath, keys: Sequence[str]) -> Iterator[Problem]:
    for key in keys:
        yield document.problem((*path, key), f"the key {key} is in data too", "Keep one of the two.")


def annotations_of(document: Document) -> Mapping[str, str]:
    """What the annotations of a document say."""
    metadata = document.raw.get("metadata")
    found = metadata.get("annotations") if isinstance(metadata, dict) else None
    return {name: str(value) for name, value in found.items()} if isinstance(found, dict) else {}


def _pod(document: Document, spec: PodSpec, at: KeyPath) -> Iterator[Problem]:
    if spec.runtime_class_name not in ("", *ENGINES):
        text = f"there is no engine {spec.runtime_class_name}"
        remedy = suggestion(spec.runtime_class_name, ENGINES, what="Leave it out, or use")
        yield document.problem((*at, "runtimeClassName"), text, remedy)
    engine = engine_of(spec)
    if spec.host_network is False and engine is Engine.PROCESS:
        text = "the process engine has no network of its own for a pod"
        yield document.problem((*at, "hostNetwork"), text, "Write hostNetwork: true, or use podman.")
    if spec.automount_service_account_token and has_own_network(spec):
        text = "the gateway's Kubernetes API is on its loopback, which a pod with a network of its own does not reach"
        yield document.problem((*at, "automountServiceAccountToken"), text, "Add hostNetwork: true, or leave it out.")
    if not spec.containers:
        yield document.problem((*at, "containers"), "a pod has one container or more", "Add one.")
    places = [("initContainers", index) for index in range(len(spec.init_containers))]
    places += [("containers", index) for index in range(len(spec.containers))]
    yield from _unique(document, at, places, [one.name for one in spec.all_containers], "container")
    volumes = [("volumes", index) for index in range(len(spec.volumes))]
    yield from _unique(document, at, volumes, [one.name for one in spec.volumes], "volume")
    for index, volume in enumerate(spec.volumes):
        if volume.name.startswith(RESERVED_PREFIX):
            text = f"the name {volume.name} is reserved"
            yield document.problem((*at, "volumes", index, "name"), text, f"Use one without {RESERVED_PREFIX}.")
        yield from _one_of(document, (*at, "volumes", index), volume, ("emptyDir", "hostPath", "configMap", "secret"))
    for (key, index), container in zip(places, spec.all_containers, strict=True):
        yield from _container(document, container, (*at, key, index), spec, engine)
        if key == "initContainers":
            yield from _init(document, container, (*at, key, index))


def _unique(
    document: Document, at: KeyPath, places: Sequence[tuple[str, int]], names: Iterable[str], what: str
) -> Iterator[Problem]:
    seen: dict[str, tuple[str, int]] = {}
    for place, name in zip(places, names, strict=True):
        first = seen.setdefault(name, place)
        if first != place:
            text = f"the {what} {name} is already {first[0]}[{first[1]}]"
            yield document.problem((*at, *place, "name"), text, "Keep one of the two, or rename one.")


def _one_of(document: Document, path: KeyPath, part: Part, keys: Sequence[str]) -> Iterator[Problem]:
    """Exactly one of the keys is there."""
    given = part.model_dump(by_alias=True, exclude_none=True)
    there = [key for key in keys if key in given]
    if len(there) != 1:
        text = f"it has {' and '.join(there)}" if there else "it says nothing"
        yield document.problem(path, text, f"Write one of {', '.join(keys)}.")


def _init(document: Document, container: Container, path: KeyPath) -> Iterator[Problem]:
    for key, there in (
        ("livenessProbe", container.liveness_probe),
        ("readinessProbe", container.readiness_probe),
        ("startupProbe", container.startup_probe),
        ("lifecycle", container.lifecycle),
    ):
        if there is not None:
            remedy = "Leave it out, or make it a container of its own."
            yield document.problem((*path, key), "an init container runs to its end and has none", remedy)


def _container(
    document: Document, container: Container, path: KeyPath, spec: PodSpec, engine: Engine
) -> Iterator[Problem]:
    if engine is Engine.PROCESS:
        yield from _process_image(document, container, path)
    else:
        yield from _podman_image(document, container, path)
    if "\0" in "".join(chain(container.command, container.args)):
        yield document.problem((*path, "command"), "a NUL character stands in an argument", "Remove it.")
    for index, variable in enumerate(container.env):
        yield from _variable(document, variable, (*path, "env", index))
    for index, source in enumerate(container.env_from):
        yield from _one_of(document, (*path, "envFrom", index), source, ("configMapRef", "secretRef"))
    known = [volume.name for volume in spec.volumes]
    for index, mount in enumerate(container.volume_mounts):
        if mount.name not in known:
            remedy = suggestion(mount.name, known, what="It has") if known else "Add it to spec.volumes."
            text = f"the pod has no volume {mount.name}"
            yield document.problem((*path, "volumeMounts", index, "name"), text, remedy)
    for index, port in enumerate(container.ports):
        own_network = engine is Engine.PODMAN and spec.host_network is not True
        if port.host_port not in (None, port.container_port) and not own_network:
            text = f"the pod uses the gateway's network, where {port.container_port} is {port.container_port}"
            yield document.problem((*path, "ports", index, "hostPort"), text, "Leave it out.")
    probes = {
        "livenessProbe": container.liveness_probe,
        "readinessProbe": container.readiness_probe,
        "startupProbe": container.startup_probe,
    }
    for key, probe in probes.items():
        if probe is not None:
            yield from _probe(document, probe, (*path, key), container)
    hook = container.lifecycle.pre_stop if container.lifecycle else None
    if hook is not None:
        yield from _one_of(document, (*path, "lifecycle", "preStop"), hook, ("exec", "httpGet"))


def _process_image(document: Document, container: Container, path: KeyPath) -> Iterator[Problem]:
    image = container.image
    if image != HOST and not is_root_folder(image):
        text = f"the process engine cannot run the image {image[:200]}"
        remedy = "Use host, for programs of the gateway itself, or file:///path/root.tar, an archive of a root folder"
        remedy += "." if is_of_gateway(image) else "; or runtimeClassName: podman."
        yield document.problem((*path, "image"), text, remedy)
    elif image == HOST and container.image_pull_policy is PullPolicy.ALWAYS:
        yield document.problem((*path, "imagePullPolicy"), "host is never pulled", "Leave it out.")
    if not container.command:
        text = "an image of the process engine names no program of its own"
        yield document.problem((*path, "command"), text, "Write the program, such as command: [/usr/bin/app].")


def _podman_image(document: Document, container: Container, path: KeyPath) -> Iterator[Problem]:
    image = container.image
    if is_of_gateway(image):
        text = f"the podman engine cannot run the image {image[:200]}"
        remedy = "Give it a pod of its own, without runtimeClassName, or use an image of a registry."
        yield document.problem((*path, "image"), text, remedy)
    elif full_reference(image) is None:
        text = f"{image[:200]} is not the name of an image"
        remedy = "Write registry/path:tag, such as docker.io/library/nginx:1.27 or localhost/app:1."
        yield document.problem((*path, "image"), text, remedy)


def _variable(document: Document, variable: EnvVar, path: KeyPath) -> Iterator[Problem]:
    if variable.value_from is None:
        return
    if variable.value:
        text = f"{variable.name} has both a value and valueFrom"
        yield document.problem((*path, "valueFrom"), text, "Keep one of the two.")
    keys = ("configMapKeyRef", "secretKeyRef", "fieldRef")
    yield from _one_of(document, (*path, "valueFrom"), variable.value_from, keys)


def _probe(document: Document, probe: Probe, path: KeyPath, container: Container) -> Iterator[Problem]:
    yield from _one_of(document, path, probe, ("exec", "httpGet", "tcpSocket"))
    if probe.success_threshold != 1 and path[-1] != "readinessProbe":
        text = f"one success is enough for a {path[-1]}"
        yield document.problem((*path, "successThreshold"), text, "Leave it out.")
    target = probe.http_get or probe.tcp_socket
    known = [port.name for port in container.ports if port.name]
    if target is not None and isinstance(target.port, str) and target.port not in known:
        key = "httpGet" if probe.http_get else "tcpSocket"
        remedy = suggestion(target.port, known, what="It has") if known else "Write its number."
        yield document.problem((*path, key, "port"), f"the container has no port named {target.port}", remedy)
