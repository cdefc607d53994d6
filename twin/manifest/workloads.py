"""What only the cloud keeps: Deployment of apps/v1, and Gateway, which tells its scheduler about one gateway."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Final, Literal

from pydantic import BeforeValidator, Field, StrictBool, StrictInt

from twin.manifest.fields import parsed_duration_ms, refuse
from twin.manifest.kinds import OURS, Envelope, Part
from twin.manifest.kube import PodSpec, Toleration
from twin.manifest.kube_fields import Bytes, MilliCpu

APPS: Final = "apps/v1"
MAX_REPLICAS: Final = 10_000

WHEN_CUT_OFF: Final = "edgetwin.dev/when-cut-off"
MOVE_AFTER: Final = "edgetwin.dev/move-after"
CUT_OFF_TAINTS: Final = ("node.kubernetes.io/unreachable", "node.kubernetes.io/not-ready")
"""The taints by which Kubernetes says that it hears nothing of a node; a toleration of one is read as the rule."""
DEFAULT_MOVE_AFTER_MS: Final = 300_000

_SHARE: Final = re.compile(r"([0-9]{1,3})%")


@dataclass(frozen=True, slots=True)
class CutOff:
    """What becomes of a pod whose gateway is not heard of: it stays, or moves after so long."""

    moves: bool = False
    after_ms: int = DEFAULT_MOVE_AFTER_MS


def cut_off_rule(annotations: Mapping[str, str], tolerations: Sequence[Toleration]) -> CutOff:
    """The rule of a pod that broke no rule of its document. Without a word of it the pod stays."""
    after_ms = parsed_duration_ms(annotations.get(MOVE_AFTER, ""))
    if WHEN_CUT_OFF in annotations or after_ms is not None:
        return CutOff(annotations.get(WHEN_CUT_OFF) != "keep", after_ms or DEFAULT_MOVE_AFTER_MS)
    for one in tolerations:
        if one.key in CUT_OFF_TAINTS and one.toleration_seconds is not None:
            return CutOff(moves=True, after_ms=one.toleration_seconds * 1000)
    return CutOff()


def share_of(text: int | str, whole: int, *, up: bool) -> int:
    """So many of a number of replicas, given as a number or in percent, rounded up or down."""
    if isinstance(text, int):
        return text
    exact = whole * int(text.removesuffix("%")) / 100
    return math.ceil(exact) if up else math.floor(exact)


def _share(value: object) -> object:
    match = _SHARE.fullmatch(value) if isinstance(value, str) else None
    counts = type(value) is int and 0 <= value <= MAX_REPLICAS
    if not counts and (match is None or int(match[1]) > 100):
        refuse(value, "is neither a number of pods nor a share of them", "Write 1, or 25%.")
    return value


Share = Annotated[int | str, BeforeValidator(_share), Field(examples=["25%"])]
Replicas = Annotated[StrictInt, Field(ge=0, le=MAX_REPLICAS, examples=[3])]


class Selector(Part):
    """Which pods a Deployment calls its own: it must fit the labels of the template."""

    match_labels: dict[str, str] = Field(examples=["{app: shop}"])


class RollingUpdate(Part):
    """How many pods may be missing, and how many too many, while a template is exchanged."""

    max_unavailable: Share = "25%"
    max_surge: Share = "25%"


class Strategy(Part):
    """How pods of an old template give way to those of a new one."""

    type: Literal["RollingUpdate", "Recreate"] = Field("RollingUpdate", examples=["Recreate"])
    rolling_update: RollingUpdate | None = None


class TemplateMetadata(Part):
    """Labels and annotations of the pods."""

    labels: dict[str, str] = Field({}, examples=["{app: shop}"])
    annotations: dict[str, str] = Field({}, examples=[f"{{{WHEN_CUT_OFF}: move}}"])


class PodTemplate(Part):
    """What each pod is made from."""

    metadata: TemplateMetadata = TemplateMetadata()
    spec: PodSpec = Field(examples=["{containers: [{name: app, image: host, command: [app]}]}"])


class DeploymentSpec(Part):
    """So many pods alike, over the gateways that fit."""

    replicas: Replicas = 1
    selector: Selector = Field(examples=["{matchLabels: {app: shop}}"])
    template: PodTemplate = Field(examples=["{metadata: {labels: {app: shop}}, spec: {containers: []}}"])
    strategy: Strategy = Strategy()


class Taint(Part):
    """What keeps pods off a gateway that do not tolerate it."""

    key: str = Field(pattern=r"^[A-Za-z0-9./_-]{1,317}$", examples=["dedicated"])
    value: str = Field("", examples=["press"])
    effect: Literal["NoSchedule", "PreferNoSchedule", "NoExecute"] = Field(examples=["NoSchedule"])


class Capacity(Part):
    """What pods may ask for altogether; without it what the gateway reports of itself, and 110 pods."""

    cpu: MilliCpu | None = None
    memory: Bytes | None = None
    pods: Replicas | None = None


class GatewaySpec(Part):
    """What the scheduler must know of a gateway besides its labels."""

    taints: tuple[Taint, ...] = Field((), examples=["[{key: dedicated, value: press, effect: NoSchedule}]"])
    capacity: Capacity = Field(Capacity(), examples=["{cpu: 4, memory: 2Gi, pods: 20}"])
    unschedulable: StrictBool = Field(False, examples=["true"])


class GatewayDocument(Envelope[GatewaySpec]):
    """A Gateway may say nothing but its labels."""

    spec: GatewaySpec = GatewaySpec()


KINDS: Final[dict[tuple[str, str], type[Envelope[Any]]]] = {
    (APPS, "Deployment"): Envelope[DeploymentSpec],
    (OURS, "Gateway"): GatewayDocument,
}
