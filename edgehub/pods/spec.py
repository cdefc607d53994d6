"""Documents -> pods as they should be, and all that a container needs to start. Pure, but for the Secrets' key."""

from __future__ import annotations

import base64
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Final, TypeAlias

from edgehub.pods.model import API_FOLDER, API_VOLUME, Launch, Mount, PodId, PodPlan, container_plans
from twin.errors import EdgetwinError
from twin.manifest.catalog import RegistryView, Stored, content_hash
from twin.manifest.document import DocumentKind
from twin.manifest.kube import ConfigMap, Container, EnvVar, Item, PodSpec, Volume
from twin.manifest.kube_engine import engine_of
from twin.manifest.kube_fields import Engine
from twin.model import Kind, PropertySpec, TwinKey, TwinSpec, Value, ValueType
from twin.sealing import Sealer

if TYPE_CHECKING:
    from edgehub.kubeapi.home import PodAccess

PROPERTIES: Final = {
    name: PropertySpec(name, type_)
    for name, type_ in {
        "phase": ValueType.STRING,
        "ready": ValueType.BOOLEAN,
        "restarts": ValueType.INT,
        "reason": ValueType.STRING,
        "message": ValueType.STRING,
        "address": ValueType.STRING,
        "containers": ValueType.JSON,
        "conditions": ValueType.JSON,
        "events": ValueType.JSON,
    }.items()
}
"""What the twin of a pod reports."""

Places: TypeAlias = Callable[[PodId, Volume], Path]
"""Where a volume of a pod lies on the gateway."""

_REFERENCE: Final = re.compile(r"\$(\$|\(([A-Za-z_.-][A-Za-z0-9_.-]*)\))")
_MAPPED_FIELD: Final = re.compile(r"metadata\.(labels|annotations)\['(.+)'\]")


class Why(StrEnum):
    """Kubernetes' words for what keeps a container from starting."""

    CONFIG = "CreateContainerConfigError"
    CREATE = "CreateContainerError"
    RUN = "RunContainerError"
    IMAGE = "ErrImagePull"
    NEVER_PULL = "ErrImageNeverPull"
    MOUNT = "FailedMount"
    NOT_RUNNING = "NotRunning"


class CannotStart(EdgetwinError):
    """A container cannot be started, or entered, as things stand."""

    code = "cannot_start"

    def __init__(self, reason: Why, message: str, *, remedy: str = "") -> None:
        super().__init__(message, remedy=remedy)
        self.reason = reason


def pod_plans(view: RegistryView, gateway: str) -> list[PodPlan]:
    """The pods that this gateway is to run."""
    return [_plan(one) for one in view.all(DocumentKind.POD) if _is_ours(one, gateway)]


def pod_specs(view: RegistryView, gateway: str) -> Iterator[TwinSpec]:
    """The specs of the twins of those pods."""
    for stored in view.all(DocumentKind.POD):
        if _is_ours(stored, gateway):
            key = TwinKey(Kind.POD, stored.ref.namespace, stored.ref.name)
            labels = tuple(sorted(stored.document.labels.items()))
            yield TwinSpec(key, stored.uid, gateway=gateway, labels=labels, properties=PROPERTIES)


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What containers are told besides their own manifest: the documents of their namespace, and who runs them."""

    view: RegistryView
    sealer: Sealer
    gateway: str
    api: PodAccess | None = None
    services: Callable[[str], dict[str, str]] = lambda _: {}
    """The variables that say where the Services of a namespace are."""

    def values(self, kind: DocumentKind, namespace: str, name: str, *, optional: bool) -> dict[str, bytes]:
        """The values of a ConfigMap or Secret. Raises CannotStart if it is missing, or its key is."""
        stored = self.view.get(kind, namespace, name)
        if stored is None:
            if optional:
                return {}
            text = f"there is no {kind} {namespace}/{name}"
            raise CannotStart(Why.CONFIG, text, remedy="Apply it.")
        spec = stored.document.spec
        if not isinstance(spec, ConfigMap):
            return _opened(self.sealer, stored)
        binary = {key: base64.b64decode(text) for key, text in spec.binary_data.items()}
        return {key: text.encode() for key, text in spec.data.items()} | binary

    def kube_api(self) -> PodAccess:
        """How pods reach the gateway's Kubernetes API. Raises CannotStart if it is off."""
        if self.api is None:
            text = "the pod asks for the gateway's Kubernetes API, which is off"
            raise CannotStart(
                Why.CONFIG, text, remedy="Set kube_api.listen, or leave automountServiceAccountToken out."
            )
        return self.api


def launch(plan: PodPlan, name: str, run: int, crashes: int, place: Places, around: Surroundings) -> Launch:
    """All that an engine needs to start a container. Raises CannotStart."""
    container = next(one for one in plan.spec.all_containers if one.name == name)
    env = environment(plan, container, around)
    if plan.spec.automount_service_account_token and not _is_mounted(plan, around):
        env.setdefault("KUBECONFIG", str(place(plan.id, API_VOLUME) / "kubeconfig"))
    limits = container.resources.limits
    return Launch(
        pod=plan.id,
        container=name,
        run=run,
        crashes=crashes,
        image=container.image,
        pull=container.image_pull_policy,
        command=tuple(expanded(word, env) for word in container.command),
        args=tuple(expanded(word, env) for word in container.args),
        env=env,
        cwd=container.working_dir or "",
        mounts=tuple(_mounts(plan, container, place, around)),
        cpu_milli=limits.cpu or 0,
        memory_bytes=limits.memory or 0,
    )


def environment(plan: PodPlan, container: Container, around: Surroundings) -> dict[str, str]:
    """The variables of a container, in Kubernetes' order: envFrom first, then env. Raises CannotStart."""
    env = {**around.services(plan.id.namespace), "HOSTNAME": plan.id.name}
    if engine_of(plan.spec) is Engine.PROCESS:  # the images of others have one of their own
        env |= {"PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"}
    if plan.spec.automount_service_account_token:
        api = around.kube_api()
        env |= {"KUBERNETES_SERVICE_HOST": api.host, "KUBERNETES_SERVICE_PORT": str(api.port)}
    for source in container.env_from:
        of = source.config_map_ref or source.secret_ref
        assert of is not None, "the rules of documents ask for one of them"
        kind = DocumentKind.CONFIG_MAP if source.config_map_ref else DocumentKind.SECRET
        values = around.values(kind, plan.id.namespace, of.name, optional=of.optional)
        env |= {source.prefix + key: _text(value, f"{kind} {of.name}", key) for key, value in values.items()}
    for variable in container.env:
        value = _value(plan, variable, env, around)
        if value is not None:
            env[variable.name] = value
    return env


def expanded(text: str, env: Mapping[str, str]) -> str:
    """Put variables for ``$(NAME)``; ``$$`` is one ``$``, and an unknown name stays as it is."""
    return _REFERENCE.sub(lambda match: "$" if match[1] == "$" else env.get(match[2], match[0]), text)


def volume_files(plan: PodPlan, volume: Volume, around: Surroundings) -> dict[str, bytes]:
    """The files of a ConfigMap's or Secret's volume, by relative path. Raises CannotStart."""
    if volume is API_VOLUME:
        return around.kube_api().files(plan.id.namespace, plan.id.uid)
    config, secret = volume.config_map, volume.secret
    if config is not None:
        kind, name, items, optional = DocumentKind.CONFIG_MAP, config.name, config.items, config.optional
    else:
        assert secret is not None, "asked only for volumes that have files"
        kind, name, items, optional = DocumentKind.SECRET, secret.secret_name, secret.items, secret.optional
    values = around.values(kind, plan.id.namespace, name, optional=optional)
    return dict(_picked(values, items, f"{kind} {name}", optional=optional)) if items else values


def _is_ours(stored: Stored, gateway: str) -> bool:
    spec = stored.document.spec
    assert isinstance(spec, PodSpec)
    return spec.node_name in (None, gateway)


def _plan(stored: Stored) -> PodPlan:
    document, spec = stored.document, stored.document.spec
    assert isinstance(spec, PodSpec)
    metadata = document.raw["metadata"]
    assert isinstance(metadata, dict)
    annotations = metadata.get("annotations")
    return PodPlan(
        id=PodId(document.namespace, document.name, stored.uid),
        fingerprint=content_hash(document.raw["spec"])[:16],
        restart=spec.restart_policy,
        grace_s=spec.termination_grace_period_seconds,
        containers=container_plans(spec),
        spec=spec,
        labels=document.labels,
        annotations=_strings(annotations),
    )


def _strings(value: Value) -> dict[str, str]:
    return {key: str(one) for key, one in value.items()} if isinstance(value, dict) else {}


def _opened(sealer: Sealer, stored: Stored) -> dict[str, bytes]:
    try:
        return sealer.opened(stored.document)
    except EdgetwinError as error:
        raise CannotStart(Why.CONFIG, error.message, remedy=error.remedy) from None


def _value(plan: PodPlan, variable: EnvVar, env: Mapping[str, str], around: Surroundings) -> str | None:
    source = variable.value_from
    if source is None:
        return expanded(variable.value, env)
    if source.field_ref is not None:
        return _field(plan, source.field_ref.field_path, around.gateway)
    kind = DocumentKind.CONFIG_MAP if source.config_map_key_ref else DocumentKind.SECRET
    of = source.config_map_key_ref or source.secret_key_ref
    assert of is not None, "the rules of documents ask for one of them"
    values = around.values(kind, plan.id.namespace, of.name, optional=of.optional)
    if of.key not in values:
        if of.optional:
            return None
        text = f"{kind} {plan.id.namespace}/{of.name} has no key {of.key}, which {variable.name} is to have"
        raise CannotStart(Why.CONFIG, text, remedy="Add the key.")
    return _text(values[of.key], f"{kind} {of.name}", of.key)


def _field(plan: PodPlan, path: str, gateway: str) -> str:
    if mapped := _MAPPED_FIELD.fullmatch(path):
        return (plan.labels if mapped[1] == "labels" else plan.annotations).get(mapped[2], "")
    fields = {
        "metadata.name": plan.id.name,
        "metadata.namespace": plan.id.namespace,
        "metadata.uid": plan.id.uid,
        "spec.nodeName": gateway,
    }
    return fields[path]


def _text(value: bytes, what: str, key: str) -> str:
    try:
        text = value.decode()
    except UnicodeDecodeError:
        text = "\0"
    if "\0" in text:
        message = f"the key {key} of {what} is not text, and cannot be a variable"
        raise CannotStart(Why.CONFIG, message, remedy="Mount it as a file.")
    return text


def _picked(
    values: Mapping[str, bytes], items: tuple[Item, ...], what: str, *, optional: bool
) -> Iterator[tuple[str, bytes]]:
    for item in items:
        if item.key in values:
            yield item.path, values[item.key]
        elif not optional:
            text = f"{what} has no key {item.key}, which {item.path} is to hold"
            raise CannotStart(Why.CONFIG, text, remedy="Add the key.")


def _is_mounted(plan: PodPlan, around: Surroundings) -> bool:
    """Whether the files for the Kubernetes API are put into the pod. Raises CannotStart if that is off."""
    return around.kube_api().mounts or engine_of(plan.spec) is Engine.PODMAN


def _mounts(plan: PodPlan, container: Container, place: Places, around: Surroundings) -> Iterator[Mount]:
    volumes = {volume.name: volume for volume in plan.spec.volumes}
    if plan.spec.automount_service_account_token and _is_mounted(plan, around):
        yield Mount(str(place(plan.id, API_VOLUME)), API_FOLDER, read_only=True)
    for mount in container.volume_mounts:
        volume = volumes[mount.name]
        source = place(plan.id, volume)
        read_only = mount.read_only or volume.config_map is not None or volume.secret is not None
        yield Mount(str(source / mount.sub_path if mount.sub_path else source), mount.mount_path, read_only)
