"""What has to be done so that a pod becomes what it should be. Pure: (plan, state, now) -> actions.

no plan, or another one     stop what runs, then remove, then begin anew
init containers             one after the other, each to its end; a failed one again, unless restartPolicy is Never
other containers            all at once; one that has ended again, as restartPolicy says, after its backoff
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final, TypeAlias

from edgehub.pods.model import ContainerPlan, ContainerState, Phase, PodId, PodPlan, PodState
from twin.manifest.kube_fields import RestartPolicy

BACKOFF_BASE_S: Final = 10.0
BACKOFF_CAP_S: Final = 300.0
RESET_AFTER_S: Final = 600.0
"""A run this long makes the next end the first in a row again."""


@dataclass(frozen=True, slots=True)
class Prepare:
    """Make the pod's folders and volumes."""

    plan: PodPlan


@dataclass(frozen=True, slots=True)
class Start:
    """Start one container."""

    plan: PodPlan
    container: ContainerPlan


@dataclass(frozen=True, slots=True)
class Stop:
    """Stop one container: preStop, TERM, and KILL when the grace period is over."""

    pod: PodId
    container: str
    grace_s: int
    why: str


@dataclass(frozen=True, slots=True)
class Remove:
    """Remove what is left of a pod of which nothing runs."""

    pod: PodId


Action: TypeAlias = Prepare | Start | Stop | Remove


@dataclass(frozen=True, slots=True)
class Verdict:
    """What to do now, and when to look again although nothing has happened (None: never)."""

    actions: tuple[Action, ...] = ()
    look_at: float | None = None


def reconciled(plan: PodPlan | None, state: PodState | None, now: float) -> Verdict:
    """Decide for one pod."""
    if state is None:
        return Verdict((Prepare(plan),)) if plan else Verdict()
    if plan is None or plan.fingerprint != state.fingerprint or plan.id != state.id:
        return _ending(state, "the pod was deleted" if plan is None else "the pod has changed")
    states = [(one, state.containers.get(one.name, ContainerState())) for one in plan.containers]
    stops = tuple(
        Stop(plan.id, one.name, plan.grace_s, known.reason or "unhealthy")
        for one, known in states
        if known.phase is Phase.RUNNING and known.unhealthy
    )
    starting = _starting(plan, states, now)
    return Verdict((*stops, *starting.actions), starting.look_at)


def backoff_s(crashes: int) -> float:
    """How long to wait after the n-th end in a row: nothing after the first, then 10 s doubling to 5 min."""
    if crashes <= 1:
        return 0.0
    return float(min(BACKOFF_BASE_S * 2 ** min(crashes - 2, 16), BACKOFF_CAP_S))


def after_end(state: ContainerState, code: int, at: float, reason: str = "", message: str = "") -> ContainerState:
    """The state of a container that has just ended."""
    long_run = state.phase is not Phase.STARTING and at - state.started_at >= RESET_AFTER_S
    said = reason or state.reason or ("Completed" if code == 0 else "Error")
    return replace(
        state,
        phase=Phase.EXITED,
        crashes=1 if long_run else state.crashes + 1,
        finished_at=at,
        exit_code=code,
        reason=said,
        message=message,
        started=False,
        ready=False,
        unhealthy=False,
    )


def starts_again(restart: RestartPolicy, container: ContainerPlan, state: ContainerState) -> bool:
    """Whether a container that has ended is to start again, at some time."""
    if container.init:
        return state.exit_code != 0 and restart is not RestartPolicy.NEVER
    if restart is RestartPolicy.ALWAYS:
        return True
    return restart is RestartPolicy.ON_FAILURE and state.exit_code != 0


def after_power_cut(
    restart: RestartPolicy, plans: Sequence[ContainerPlan], states: Mapping[str, ContainerState]
) -> dict[str, ContainerState]:
    """The states after the machine itself has started anew: a pod that was done stays done, any other begins again."""
    main = [(one, states.get(one.name, ContainerState())) for one in plans if not one.init]
    done = all(known.phase is Phase.EXITED and not starts_again(restart, one, known) for one, known in main)
    if done:
        return dict(states)
    return {name: ContainerState(runs=known.runs) for name, known in states.items()}


def _ending(state: PodState, why: str) -> Verdict:
    if not any(one.alive for one in state.containers.values()):
        return Verdict((Remove(state.id),))
    running = (name for name, one in state.containers.items() if one.phase is Phase.RUNNING)
    return Verdict(tuple(Stop(state.id, name, state.spec.termination_grace_period_seconds, why) for name in running))


def _starting(plan: PodPlan, states: Sequence[tuple[ContainerPlan, ContainerState]], now: float) -> Verdict:
    for one, known in states:
        if not one.init or (known.phase is Phase.EXITED and known.exit_code == 0):
            continue
        if known.phase is Phase.EXITED and plan.restart is RestartPolicy.NEVER:
            return Verdict()  # the pod has failed
        return _due(plan, [(one, known)], now)
    return _due(plan, [(one, known) for one, known in states if not one.init], now)


def _due(plan: PodPlan, states: Sequence[tuple[ContainerPlan, ContainerState]], now: float) -> Verdict:
    actions: list[Action] = []
    later: list[float] = []
    for one, known in states:
        if known.phase is Phase.WAITING:
            actions.append(Start(plan, one))
        elif known.phase is Phase.EXITED and starts_again(plan.restart, one, known):
            due = known.finished_at + backoff_s(known.crashes)
            if now >= due:
                actions.append(Start(plan, one))
            else:
                later.append(due)
    return Verdict(tuple(actions), min(later, default=None))
