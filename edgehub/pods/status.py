"""What the outside is told of a pod: phase, conditions and containers, in Kubernetes' words. Pure."""

from __future__ import annotations

from dataclasses import dataclass

from edgehub.pods.model import ContainerPlan, ContainerState, Phase, PodPlan, PodState
from edgehub.pods.reconcile import backoff_s, starts_again
from twin.manifest.kube_fields import RestartPolicy
from twin.model import Value

_NOTHING = ContainerState()


@dataclass(frozen=True, slots=True)
class PodStatus:
    """One pod as its twin has it."""

    phase: str
    ready: bool
    restarts: int
    reason: str
    message: str
    containers: dict[str, Value]
    conditions: dict[str, Value]


def status_of(plan: PodPlan, state: PodState | None) -> PodStatus:
    """The status of a pod."""
    known = {one.name: (state.containers.get(one.name, _NOTHING) if state else _NOTHING) for one in plan.containers}
    initialized = all(known[one.name].phase is Phase.EXITED and known[one.name].exit_code == 0 for one in plan.init)
    ready = initialized and all(known[one.name].ready for one in plan.main)
    phase = _phase(plan, known, initialized)
    states = [(one, known[one.name]) for one in plan.containers]
    troubled = next(((one, state) for one, state in states if _is_troubled(state)), None)
    return PodStatus(
        phase=phase,
        ready=ready,
        restarts=sum(max(one.runs - 1, 0) for one in known.values()),
        reason=_reason(plan.restart, *troubled) if troubled else "",
        message=troubled[1].message if troubled else "",
        containers={one.name: _container(plan.restart, one, known[one.name]) for one in plan.containers},
        conditions={"PodScheduled": True, "Initialized": initialized, "ContainersReady": ready, "Ready": ready},
    )


def _phase(plan: PodPlan, known: dict[str, ContainerState], initialized: bool) -> str:
    never = plan.restart is RestartPolicy.NEVER
    if never and any(known[one.name].phase is Phase.EXITED and known[one.name].exit_code for one in plan.init):
        return "Failed"
    main = [(one, known[one.name]) for one in plan.main]
    if not initialized or all(one.started_at == 0 for _, one in main):
        return "Pending"
    if all(one.phase is Phase.EXITED and not starts_again(plan.restart, what, one) for what, one in main):
        return "Failed" if any(one.exit_code for _, one in main) else "Succeeded"
    return "Running"


def _is_troubled(state: ContainerState) -> bool:
    return state.phase is not Phase.RUNNING and state.reason not in ("", "Completed")


def _waits(restart: RestartPolicy, plan: ContainerPlan, state: ContainerState) -> bool:
    return state.phase is Phase.EXITED and starts_again(restart, plan, state)


def _reason(restart: RestartPolicy, plan: ContainerPlan, state: ContainerState) -> str:
    in_a_row = _waits(restart, plan, state) and state.crashes > 1 and not state.message
    return "CrashLoopBackOff" if in_a_row else state.reason


def _container(restart: RestartPolicy, plan: ContainerPlan, state: ContainerState) -> Value:
    """What is told of one container; nothing in it changes by itself, or every pod would report all the time."""
    waits = _waits(restart, plan, state)
    told: dict[str, Value] = {"state": "waiting" if waits else str(state.phase), "ready": state.ready}
    told |= {"restarts": max(state.runs - 1, 0)}
    if plan.init:
        told |= {"init": True}
    if state.reason:
        told |= {"reason": _reason(restart, plan, state)}
    if waits:
        told |= {"backoff_s": backoff_s(state.crashes)}
    if state.message:
        told |= {"message": state.message}
    if state.phase is Phase.EXITED:
        told |= {"exit_code": state.exit_code}
    return told
