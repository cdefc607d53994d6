"""What a new hub makes of what the last one left of a pod. Pure, but for the names of folders."""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping
from dataclasses import dataclass

from pydantic import ValidationError

from edgehub.pods.model import (
    LOST_CODE,
    ContainerState,
    Phase,
    PodId,
    PodPlan,
    PodState,
    container_plans,
)
from edgehub.pods.reconcile import after_power_cut
from edgehub.pods.records import ExitRecord, PodFolders, PodRecord, RunRecord, StartRecord
from twin.manifest.kube import Container, PodSpec
from twin.manifest.kube_fields import Engine

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Found:
    """One container, and whether it is from before the machine started."""

    state: ContainerState
    old_boot: bool = False


@dataclass(frozen=True, slots=True)
class MadeFrom:
    """What a pod was made from."""

    spec: PodSpec
    fingerprint: str

    @property
    def names(self) -> list[str]:
        """Its containers, init containers first."""
        return [one.name for one in self.spec.all_containers]


def record_of(plan: PodPlan, engine: Engine) -> PodRecord:
    """What is written down of a pod."""
    spec = plan.spec.model_dump(mode="json", by_alias=True, exclude_none=True, exclude_defaults=True)
    pod = plan.id
    return PodRecord(
        namespace=pod.namespace, name=pod.name, uid=pod.uid, fingerprint=plan.fingerprint, spec=spec, engine=engine
    )


def made_from(record: PodRecord, folders: PodFolders) -> MadeFrom:
    """What the pod was made from; one that this release cannot read is like no plan, so that it is made anew."""
    try:
        return MadeFrom(PodSpec.model_validate(record.spec), record.fingerprint)
    except ValidationError as error:
        log.warning("pod %s/%s is of another release, it is made anew: %s", record.namespace, record.name, error)
        names = sorted(one.name for one in folders.container(record.id, "").glob("*/"))
        return MadeFrom(PodSpec(containers=tuple(Container(name=name, image="host") for name in names)), "")


def found_pod(pod: PodId, made: MadeFrom, found: Mapping[str, Found]) -> PodState:
    """The state of a pod from that of its containers."""
    states = {name: one.state for name, one in found.items()}
    rebooted = any(one.old_boot for one in found.values())
    if rebooted and not any(one.alive for one in states.values()):
        states = after_power_cut(made.spec.restart_policy, container_plans(made.spec), states)
    return PodState(pod, made.fingerprint, made.spec, states)


def state_of_end(run: RunRecord, started: StartRecord | None, ended: ExitRecord | None, boot: str) -> Found:
    """The state of a container of which nothing runs any more."""
    began_at = started.at if started is not None and started.run == run.run else 0.0
    if ended is None or ended.run != run.run:
        old_boot = started is None or started.boot != boot
        code, at, reason = LOST_CODE, time.clock_gettime(time.CLOCK_BOOTTIME), "ContainerLost"
    else:
        old_boot = ended.boot != boot
        code = ended.code if ended.code >= 0 else 128 - ended.code
        at, reason = (0.0 if old_boot else ended.at), "Completed" if code == 0 else "Error"
    state = ContainerState(
        phase=Phase.EXITED,
        runs=run.run,
        crashes=0 if old_boot else run.crashes + 1,
        started_at=began_at,
        finished_at=at,
        exit_code=code,
        reason=reason,
    )
    return Found(state, old_boot)
