"""Kubernetes' own kinds as they are taken: Pod, ConfigMap and Secret of v1. What is not here is refused by its path."""

from __future__ import annotations

from typing import Any, Final, Literal

from pydantic import Field, StrictBool

from twin.manifest.fields import FreeMap, Name
from twin.manifest.kinds import Envelope, Metadata, Part
from twin.manifest.kube_fields import (
    AbsolutePath,
    Base64,
    Bytes,
    Count,
    EnvName,
    FieldPath,
    Key,
    MilliCpu,
    PortNumber,
    ProbePort,
    Pull,
    PullPolicy,
    RelativePath,
    Restart,
    RestartPolicy,
    Seconds,
    SecretText,
)

V1: Final = "v1"


class KeyOf(Part):
    """Names one key of a ConfigMap or Secret."""

    name: Name
    key: Key
    optional: StrictBool = False


class FieldOf(Part):
    """Names a field of the pod itself."""

    api_version: Literal["v1"] = "v1"
    field_path: FieldPath


class ValueFrom(Part):
    """Where the value of a variable comes from: one of the three."""

    config_map_key_ref: KeyOf | None = None
    secret_key_ref: KeyOf | None = None
    field_ref: FieldOf | None = None


class EnvVar(Part):
    """One environment variable; ``$(OTHER)`` in its value is one that was set before it."""

    name: EnvName
    value: str = Field("", examples=["debug"])
    value_from: ValueFrom | None = None


class AllOf(Part):
    """Names a whole ConfigMap or Secret."""

    name: Name
    optional: StrictBool = False


class EnvFrom(Part):
    """All keys of a ConfigMap or Secret as variables."""

    prefix: str = Field("", examples=["APP_"])
    config_map_ref: AllOf | None = None
    secret_ref: AllOf | None = None


class VolumeMount(Part):
    """Where a volume appears in a container."""

    name: Name
    mount_path: AbsolutePath
    read_only: StrictBool = False
    sub_path: RelativePath | None = None


class ContainerPort(Part):
    """A port that a container listens on: for people, and for the names that probes use."""

    name: Name | None = None
    container_port: PortNumber
    host_port: PortNumber | None = None
    protocol: Literal["TCP", "UDP"] = Field("TCP", examples=["TCP"])


class Amounts(Part):
    """Amounts of what a container uses."""

    cpu: MilliCpu | None = None
    memory: Bytes | None = None


class Resources(Part):
    """What a container may use at most, and what it needs to be placed."""

    limits: Amounts = Field(Amounts(), examples=["{memory: 64Mi}"])
    requests: Amounts = Field(Amounts(), examples=["{cpu: 100m}"])


class Exec(Part):
    """A command that is run in the container; 0 is good."""

    command: tuple[str, ...] = Field(examples=["[test, -f, /tmp/ready]"])


class Header(Part):
    """One header of an HTTP request."""

    name: str = Field(pattern=r"^[A-Za-z0-9-]{1,128}$")
    value: str = Field(pattern=r"^[^\r\n\x00]*$")


class HttpGet(Part):
    """An HTTP request; an answer of 200 to 399 is good."""

    path: str = Field("/", pattern=r"^/[^\s\x00]*$", examples=["/healthz"])
    port: ProbePort
    host: str = Field("", pattern=r"^[A-Za-z0-9.:-]*$", examples=["127.0.0.1"])
    scheme: Literal["HTTP", "HTTPS"] = "HTTP"
    http_headers: tuple[Header, ...] = ()


class TcpSocket(Part):
    """A connection that must open."""

    port: ProbePort
    host: str = Field("", pattern=r"^[A-Za-z0-9.:-]*$", examples=["127.0.0.1"])


class Probe(Part):
    """How to see whether a container is well: one of the three ways, on its own timer."""

    exec: Exec | None = None
    http_get: HttpGet | None = None
    tcp_socket: TcpSocket | None = None
    initial_delay_seconds: Seconds = 0
    period_seconds: Count = 10
    timeout_seconds: Count = 1
    success_threshold: Count = 1
    failure_threshold: Count = 3


class Hook(Part):
    """What is done at a moment of a container's life."""

    exec: Exec | None = None
    http_get: HttpGet | None = None


class Lifecycle(Part):
    """The moments at which something is done: before a container is stopped."""

    pre_stop: Hook | None = Field(None, examples=["{exec: {command: [drain]}}"])


class Container(Part):
    """One program of a pod."""

    name: Name
    image: str = Field(examples=["host"])
    image_pull_policy: Pull = PullPolicy.IF_NOT_PRESENT
    command: tuple[str, ...] = Field((), examples=["[/usr/bin/app, --fast]"])
    args: tuple[str, ...] = Field((), examples=["[--fast]"])
    working_dir: AbsolutePath | None = None
    env: tuple[EnvVar, ...] = Field((), examples=["[{name: LOG_LEVEL, value: debug}]"])
    env_from: tuple[EnvFrom, ...] = Field((), examples=["[{configMapRef: {name: app}}]"])
    volume_mounts: tuple[VolumeMount, ...] = Field((), examples=["[{name: config, mountPath: /etc/app}]"])
    ports: tuple[ContainerPort, ...] = Field((), examples=["[{containerPort: 8080}]"])
    resources: Resources = Field(Resources(), examples=["{limits: {memory: 64Mi}}"])
    liveness_probe: Probe | None = None
    readiness_probe: Probe | None = None
    startup_probe: Probe | None = None
    lifecycle: Lifecycle | None = None


class EmptyDir(Part):
    """A folder that lives as long as the pod."""


class HostPath(Part):
    """A path of the gateway itself."""

    path: AbsolutePath
    type: Literal["", "Directory", "DirectoryOrCreate", "File"] = Field("", examples=["Directory"])


class Item(Part):
    """One key of a ConfigMap or Secret, and the file that it becomes."""

    key: Key
    path: RelativePath


class ConfigMapVolume(Part):
    """The keys of a ConfigMap as files."""

    name: Name
    items: tuple[Item, ...] = ()
    optional: StrictBool = False


class SecretVolume(Part):
    """The keys of a Secret as files."""

    secret_name: Name
    items: tuple[Item, ...] = ()
    optional: StrictBool = False


class Volume(Part):
    """A folder that containers of the pod share: one of the four."""

    name: Name
    empty_dir: EmptyDir | None = None
    host_path: HostPath | None = None
    config_map: ConfigMapVolume | None = None
    secret: SecretVolume | None = None


class Toleration(Part):
    """A taint that the pod does not mind; for the cloud's scheduler."""

    key: str = Field("", examples=["dedicated"])
    operator: Literal["Equal", "Exists"] = Field("Equal", examples=["Exists"])
    value: str = Field("", examples=["press"])
    effect: Literal["", "NoSchedule", "PreferNoSchedule", "NoExecute"] = Field("", examples=["NoSchedule"])
    toleration_seconds: Seconds | None = None


class PodSpec(Part):
    """What a gateway runs as one: containers that start, share volumes and end together."""

    init_containers: tuple[Container, ...] = Field((), examples=["[{name: prepare, image: host, command: [prepare]}]"])
    containers: tuple[Container, ...] = Field(examples=["[{name: app, image: host, command: [app]}]"])
    volumes: tuple[Volume, ...] = Field((), examples=["[{name: scratch, emptyDir: {}}]"])
    restart_policy: Restart = RestartPolicy.ALWAYS
    termination_grace_period_seconds: Seconds = 30
    runtime_class_name: str = Field("", examples=["podman"])
    node_name: Name | None = None
    host_network: StrictBool | None = Field(None, examples=["true"])
    automount_service_account_token: StrictBool = Field(False, examples=["true"])
    node_selector: dict[str, str] = Field({}, examples=["{hall: north}"])
    tolerations: tuple[Toleration, ...] = Field((), examples=["[{key: dedicated, operator: Exists}]"])

    @property
    def all_containers(self) -> tuple[Container, ...]:
        """Init containers first, in their order."""
        return (*self.init_containers, *self.containers)


class Flat(Part):
    """A document whose content stands beside its metadata, without a spec."""

    api_version: str
    kind: str
    metadata: Metadata = Field(examples=["{name: app}"])
    status: FreeMap | None = None

    @property
    def spec(self) -> Any:  # each kind is its own; a document's type says which there are
        """What the document says: all of it, but for what a server sets."""
        said = self.metadata
        own = Metadata(namespace=said.namespace, name=said.name, labels=said.labels, annotations=said.annotations)
        return self.model_copy(update={"metadata": own})


class ConfigMap(Flat):
    """Text for containers, by key; ``binaryData`` in base64."""

    immutable: StrictBool = False
    data: dict[Key, str] = Field({}, examples=["{LOG_LEVEL: debug}"])
    binary_data: dict[Key, Base64] = Field({}, examples=["{logo: aGVsbG8=}"])


class Secret(Flat):
    """Text for containers that nobody else should read: ``data`` in base64 or sealed, ``stringData`` plain."""

    type: str = "Opaque"
    immutable: StrictBool = False
    data: dict[Key, SecretText] = Field({}, examples=["{password: c2VjcmV0}"])
    string_data: dict[Key, str] = Field({}, examples=["{password: secret}"])


KINDS: Final[dict[tuple[str, str], type[Envelope[Any]] | type[Flat]]] = {
    (V1, "Pod"): Envelope[PodSpec],
    (V1, "ConfigMap"): ConfigMap,
    (V1, "Secret"): Secret,
}
