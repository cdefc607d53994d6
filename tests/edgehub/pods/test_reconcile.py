"""The rules of the kubelet loop, over all sequences of what can happen."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgehub.pods.model import ContainerState, Phase, PodId, PodPlan, PodState, container_plans
from edgehub.pods.reconcile import (
    BACKOFF_CAP_S,
    RESET_AFTER_S,
    Prepare,
    Remove,
    Start,
    Stop,
    after_end,
    after_power_cut,
    backoff_s,
    reconciled,
)
from edgehub.pods.status import status_of
from twin.manifest.kube import PodSpec
from twin.manifest.kube_fields import RestartPolicy

pytestmark = pytest.mark.fast

NAMES = ("prepare", "migrate", "app", "side")


def plan_with(inits: int, mains: int, restart: str, fingerprint: str = "f") -> PodPlan:
    one = {"image": "host", "command": ["x"]}
    spec: dict[str, Any] = {
        "initContainers": [{"name": NAMES[index], **one} for index in range(inits)],
        "containers": [{"name": NAMES[2 + index], **one} for index in range(mains)],
        "restartPolicy": restart,
    }
    read = PodSpec.model_validate(spec)
    return PodPlan(PodId("default", "web", "u"), fingerprint, read.restart_policy, 30, container_plans(read), read)


plans = st.builds(plan_with, st.integers(0, 2), st.integers(1, 2), st.sampled_from(["Always", "OnFailure", "Never"]))
happenings = st.lists(
    st.one_of(
        st.tuples(st.just("wait"), st.sampled_from([0.5, 9.0, 11.0, 301.0, 700.0])),
        st.tuples(st.just("end"), st.tuples(st.integers(0, 3), st.sampled_from([0, 0, 1, 137]))),
        st.tuples(st.just("sick"), st.integers(0, 3)),
        st.tuples(st.just("no start"), st.just(0)),
        st.tuples(st.just("change"), st.just(0)),
        st.tuples(st.just("delete"), st.just(0)),
    ),
    max_size=30,
)


class World:
    """Does at once what the verdict says, and checks that it could be done."""

    def __init__(self, plan: PodPlan) -> None:
        self.plan: PodPlan | None = plan
        self.state: PodState | None = None
        self.now = 1000.0
        self.starts_fail = False
        self.actions = 0

    def put(self, name: str, state: ContainerState) -> None:
        assert self.state is not None
        self.state = replace(self.state, containers={**self.state.containers, name: state})

    def settle(self) -> None:
        for _ in range(20):
            verdict = reconciled(self.plan, self.state, self.now)
            if not verdict.actions:
                assert verdict.look_at is None or self.now < verdict.look_at <= self.now + BACKOFF_CAP_S
                known = self.state.containers.values() if self.state else ()
                assert not any(one.phase is Phase.RUNNING and one.unhealthy for one in known)
                return
            for action in verdict.actions:
                self.actions += 1
                self.act(action)
        raise AssertionError("it never comes to rest")

    def act(self, action: Any) -> None:
        if isinstance(action, Prepare):
            assert self.state is None
            self.state = PodState(action.plan.id, action.plan.fingerprint, action.plan.spec)
        elif isinstance(action, Remove):
            assert self.state is not None
            assert not any(one.alive for one in self.state.containers.values())
            self.state = None
        elif isinstance(action, Stop):
            assert self.state is not None
            known = self.state.containers[action.container]
            assert known.phase is Phase.RUNNING
            self.put(action.container, after_end(known, 143, self.now))
        elif isinstance(action, Start):
            assert self.state is not None
            assert action.plan == self.plan
            assert action.plan.fingerprint == self.state.fingerprint
            known = self.state.containers.get(action.container.name, ContainerState())
            assert not known.alive
            if not action.container.init:
                done = [self.state.containers[one.name] for one in action.plan.init]
                assert all(one.phase is Phase.EXITED and one.exit_code == 0 for one in done)
            starting = replace(known, phase=Phase.STARTING, runs=known.runs + 1)
            if self.starts_fail:
                self.put(action.container.name, after_end(starting, 128, self.now))
            else:
                self.put(action.container.name, replace(starting, phase=Phase.RUNNING, started_at=self.now))
        if self.state is not None:
            running = [one for one in self.state.containers.items() if one[1].alive]
            inits = {one.name for one in container_plans(self.state.spec) if one.init}
            assert len([name for name, _ in running if name in inits]) <= 1
            assert not (inits & {name for name, _ in running}) or len(running) == 1

    def happen(self, what: str, value: Any) -> None:
        self.starts_fail = what == "no start"
        if what == "wait":
            self.now += value
        elif what == "change" and self.plan is not None:
            self.plan = replace(self.plan, fingerprint=self.plan.fingerprint + "x")
        elif what == "delete":
            self.plan = None
        elif what in ("end", "sick") and self.state is not None:
            running = [name for name, one in self.state.containers.items() if one.alive]
            if running and what == "end":
                name = running[value[0] % len(running)]
                self.put(name, after_end(self.state.containers[name], value[1], self.now))
            elif running:
                name = running[value % len(running)]
                self.put(name, replace(self.state.containers[name], unhealthy=True, reason="Unhealthy"))


@given(plans, happenings)
def test_whatever_happens_the_pod_becomes_what_it_should_be(plan: PodPlan, happened: Any) -> None:
    world = World(plan)
    world.settle()
    for what, value in happened:
        world.happen(what, value)
        world.settle()
        if world.plan is not None:
            status = status_of(world.plan, world.state)
            waiting = [one for one in status.containers.values() if isinstance(one, dict) and "backoff_s" in one]
            assert not waiting or status.phase in ("Pending", "Running")
    world.starts_fail = False
    for _ in range(6):  # init containers and all backoffs have their time
        world.now += BACKOFF_CAP_S + 1
        world.settle()
        if world.state is not None:
            for one in container_plans(world.state.spec):
                known = world.state.containers.get(one.name)
                if one.init and known is not None and known.alive:
                    world.put(one.name, after_end(known, 0, world.now))
        world.settle()
    if world.plan is None:
        assert world.state is None
        return
    assert world.state is not None
    assert world.state.fingerprint == world.plan.fingerprint
    phase = status_of(world.plan, world.state).phase
    if world.plan.restart is RestartPolicy.ALWAYS:
        assert phase == "Running"
    elif phase == "Running":
        running = [one for one in world.plan.main if world.state.containers[one.name].alive]
        assert running
    else:
        assert phase in ("Succeeded", "Failed")


@given(plans, happenings)
def test_a_pod_that_does_not_change_is_left_alone(plan: PodPlan, happened: Any) -> None:
    world = World(plan)
    world.settle()
    for what, value in happened:
        world.happen(what, value)
        world.settle()
    before = world.actions
    world.plan = replace(world.plan) if world.plan else None  # the same, from another reading of the documents
    world.settle()
    assert world.actions == before


@given(st.integers(0, 10_000))
def test_the_backoff_rises_to_its_cap(crashes: int) -> None:
    assert 0 <= backoff_s(crashes) <= backoff_s(crashes + 1) <= BACKOFF_CAP_S


def test_the_backoff_is_that_of_kubernetes() -> None:
    assert [backoff_s(crashes) for crashes in range(1, 9)] == [0, 10, 20, 40, 80, 160, 300, 300]


def test_a_long_run_makes_the_next_end_the_first_again() -> None:
    running = ContainerState(Phase.RUNNING, runs=7, crashes=6, started_at=100.0)
    assert after_end(running, 1, 100 + RESET_AFTER_S - 1).crashes == 7
    assert after_end(running, 1, 100 + RESET_AFTER_S).crashes == 1


def test_a_start_that_failed_counts_however_long_ago_the_last_run_began() -> None:
    assert after_end(ContainerState(Phase.STARTING, 2, 3, started_at=0.0), 128, 5000.0).crashes == 4


def test_after_a_power_cut_a_pod_that_was_done_stays_done_and_others_begin_again() -> None:
    plan = plan_with(1, 1, "OnFailure")
    done = ContainerState(Phase.EXITED, runs=1, exit_code=0)
    lost = ContainerState(Phase.EXITED, runs=3, crashes=2, exit_code=137)
    assert after_power_cut(plan.restart, plan.containers, {"prepare": done, "app": done})["app"] is done
    begun_again = after_power_cut(plan.restart, plan.containers, {"prepare": done, "app": lost})
    assert begun_again == {"prepare": ContainerState(runs=1), "app": ContainerState(runs=3)}
