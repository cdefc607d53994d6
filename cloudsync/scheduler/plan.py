"""From the world as it is to what is to be changed. Pure: run again on its own outcome it changes nothing.

1. stays     over, ended by the gateway, or not wanted there any more
2. replicas  pods of Deployments made and dropped
3. places    pods without a gateway get one; so do pods that move, if there is one to move to

A pod has one stay that is not over. The exception: a pod that moves, or whose gateway was shut out, has a new one while
the old one lasts, which is kept on record until that gateway says that it knows.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import replace

from cloudsync.scheduler.model import Effect, Gateway, Needs, Note, Placed, Plan, Pod, PodName, World
from cloudsync.scheduler.replicas import Ids, Where, change, made_pods
from cloudsync.scheduler.room import Rooms
from cloudsync.store.workloads import PlacementState
from twin.manifest.workloads import CutOff

BOUND, LEAVING, ENDING = PlacementState.BOUND, PlacementState.LEAVING, PlacementState.ENDING


def plan(world: World, now: int, ids: Ids) -> Plan:
    """What is to be changed."""
    made = _Planning(world, now, ids)
    made.stays()
    made.replicas()
    made.places()
    return made.outcome()


class _Planning:
    """One round."""

    def __init__(self, world: World, now: int, ids: Ids) -> None:
        self._world = world
        self._now = now
        self._ids = ids
        self._gateways = world.gateways
        self._pods = dict(world.pods)
        self._bound: dict[PodName, Placed] = {}
        self._going: dict[tuple[str, PodName], Placed] = {}
        self._changed: dict[tuple[str, PodName], Placed] = {}
        self._forget: set[tuple[str, PodName]] = set()
        self._make: dict[PodName, Pod] = {}
        self._drop: set[PodName] = set()
        self._whys: dict[PodName, str] = {}
        self._notes: list[Note] = []
        self._look_at: list[int] = []

    # -- stays ---------------------------------------------------------------------------------------------------

    def stays(self) -> None:
        """Let each stay go on, begin to end, or be over."""
        for placed in self._world.placed:
            if placed.state is not BOUND:
                self._go_on(placed)
                continue
            self._bound[placed.pod] = placed
            why = self._unwanted(placed)
            if why:
                self._leave(placed, why)

    def _go_on(self, placed: Placed) -> None:
        gateway = self._gateways.get(placed.gateway)
        ends_at = placed.since + placed.grace_s * 1000
        if placed.state is ENDING and self._now >= ends_at:
            self._forget.add(placed.place)
            return
        if placed.state is LEAVING and placed.removed and gateway is not None and gateway.agreed:
            placed = self._changed[placed.place] = replace(placed, state=ENDING, since=self._now)
            ends_at = self._now + placed.grace_s * 1000
        if placed.state is ENDING:
            self._look_at.append(ends_at)
        self._going[placed.place] = placed

    def _unwanted(self, placed: Placed) -> str:
        """Why a pod is not to be where it is; empty if it is."""
        pod, gateway = self._pods.get(placed.pod), self._gateways.get(placed.gateway)
        if pod is None or pod.uid != placed.uid:
            return "it was deleted"
        if gateway is None or gateway.revoked:
            return f"{placed.gateway} is shut out"
        if pod.needs.node not in ("", placed.gateway):
            return f"it names {pod.needs.node}"
        if not pod.needs.node:
            for taint in gateway.taints:
                if taint.effect is Effect.NO_EXECUTE and not pod.needs.tolerates(taint):
                    return f"{placed.gateway} has the taint {taint.key}"
        return ""

    def _leave(self, placed: Placed, why: str) -> None:
        gone = replace(placed, state=LEAVING, since=self._now)
        self._changed[placed.place] = self._going[placed.place] = gone
        del self._bound[placed.pod]
        self._notes.append(Note(f"Pod {placed.pod}", f"leaves {placed.gateway}: {why}"))

    # -- replicas ------------------------------------------------------------------------------------------------

    def replicas(self) -> None:
        """Make and drop pods of Deployments."""
        of: dict[str, list[Pod]] = defaultdict(list)
        for pod in self._pods.values():
            if pod.owner:
                of[pod.owner].append(pod)
        for owner in of.keys() - self._world.deployments.keys():
            self._dropped(of[owner], "its Deployment was deleted")
        held: dict[str, list[Placed]] = defaultdict(list)
        leaving: dict[PodName, list[Placed]] = defaultdict(list)
        for placed in self._going.values():
            leaving[placed.pod].append(placed)
            if placed.owner and placed.pod not in self._pods:
                held[placed.owner].append(placed)
        for uid, deployment in self._world.deployments.items():
            pods = of.get(uid, [])
            rule = deployment.template.cut_off
            where = {one.name: self._where(one.name, rule, leaving.get(one.name, ())) for one in pods}
            waits = sum(not self._released(one, rule) for one in held[uid])
            wanted = change(deployment, pods, where, waits)
            self._dropped(wanted.drop, "its Deployment wants it no more")
            if not wanted.make:
                continue
            taken = self._taken_names(deployment.name.namespace)
            for pod in made_pods(deployment, wanted.make, taken.__contains__, self._ids):
                self._make[pod.name] = self._pods[pod.name] = pod

    def _where(self, name: PodName, rule: CutOff, leaving: Iterable[Placed]) -> Where:
        placed = self._bound.get(name)
        holds = any(not self._released(one, rule) for one in (*leaving, *([placed] if placed else ())))
        if placed is None:
            return Where("", there=False, holds=holds)
        return Where(placed.gateway, self._gateways[placed.gateway].online, holds)

    def _taken_names(self, namespace: str) -> set[PodName]:
        names = {name for name in self._pods if name.namespace == namespace}
        return names | {name for _, name in self._going}

    def _dropped(self, pods: Iterable[Pod], why: str) -> None:
        for pod in pods:
            self._drop.add(pod.name)
            del self._pods[pod.name]
            if pod.name in self._bound:
                self._leave(self._bound[pod.name], why)

    # -- places --------------------------------------------------------------------------------------------------

    def places(self) -> None:
        """Find gateways for pods that have none, and for those that move."""
        rooms = Rooms(self._gateways.values())
        for placed in (*self._bound.values(), *self._going.values()):
            pod = self._pods.get(placed.pod)
            owner = placed.owner if placed.state is BOUND else ""
            known = pod is not None and pod.uid == placed.uid
            rooms.take(placed.gateway, pod.needs if pod and known else Needs(), owner)
        going: dict[PodName, list[Placed]] = defaultdict(list)
        for placed in self._going.values():
            going[placed.pod].append(placed)
        groups: dict[tuple[str, Needs], list[Pod]] = defaultdict(list)
        for name in sorted(self._pods):
            pod = self._pods[name]
            stay = self._bound.get(name)
            if stay is not None and not self._moves(pod, stay):
                continue
            waits = [one for one in going[name] if not self._released(one, pod.cut_off)]
            if stay is None and waits:
                self._whys[name] = self._waiting(waits)
            elif not waits:
                groups[pod.owner, pod.needs].append(pod)
        own: dict[PodName, set[str]] = defaultdict(set)
        for gateway in self._gateways.values():
            for name in gateway.own:
                own[name].add(gateway.name)
        for pods in groups.values():
            taken = {one.name: frozenset((*own[one.name], *(last.gateway for last in going[one.name]))) for one in pods}
            found, why = rooms.place(pods, taken)
            for pod in pods:
                self._settle(pod, found.get(pod.name, ""), why)

    def _moves(self, pod: Pod, placed: Placed) -> bool:
        gateway = self._gateways[placed.gateway]
        if not pod.cut_off.moves or gateway.online or pod.needs.node:
            return False
        if gateway.silent_ms < pod.cut_off.after_ms:
            self._look_at.append(self._now + pod.cut_off.after_ms - gateway.silent_ms)
            return False
        return True

    def _released(self, stay: Placed, rule: CutOff) -> bool:
        """Whether a pod may run elsewhere while a stay is not over."""
        gateway = self._gateways.get(stay.gateway)
        return gateway is None or gateway.revoked or _is_gone(gateway, rule)

    def _waiting(self, stays: Iterable[Placed]) -> str:
        def told(stay: Placed) -> str:
            gateway = self._gateways.get(stay.gateway)
            cut = gateway is not None and not gateway.online
            return f"{stay.gateway}, which is cut off," if cut else stay.gateway

        return f"waits until {' and '.join(told(one) for one in stays)} has let go of it"

    def _settle(self, pod: Pod, gateway: str, why: str) -> None:
        former = self._bound.get(pod.name)
        if not gateway:
            if former is None:
                self._whys[pod.name] = why
            return
        if former is not None:
            silent_s = self._gateways[former.gateway].silent_ms // 1000
            self._leave(former, f"nothing was heard of it for {silent_s} s; it may run there until it is back")
        placed = Placed(pod.name, gateway, pod.uid, pod.owner, BOUND, self._now, pod.grace_s)
        self._bound[pod.name] = self._changed[placed.place] = placed
        self._forget.discard(placed.place)  # it may come back to where it was
        self._notes.append(Note(f"Pod {pod.name}", f"goes to {gateway}"))

    def outcome(self) -> Plan:
        """What came of it."""
        whys = {name: self._whys.get(name, "") for name in self._pods}
        return Plan(
            make=self._make,
            drop=frozenset(self._drop),
            place=tuple(self._changed.values()),
            forget=frozenset(self._forget),
            whys=whys,
            notes=tuple(self._notes),
            look_at=min(self._look_at, default=None),
        )


def _is_gone(gateway: Gateway, rule: CutOff) -> bool:
    return rule.moves and not gateway.online and gateway.silent_ms >= rule.after_ms
