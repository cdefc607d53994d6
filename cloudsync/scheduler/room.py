"""Where pods fit: one look at the gateways for all pods that ask for the same. Pure but for what it counts.

gateways ──labels, taints, there or not──> candidates ──fewest of the owner, then emptiest──> the first with room
"""

from __future__ import annotations

import heapq
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Final

from cloudsync.scheduler.model import LABEL_GATEWAY, Effect, Gateway, Needs, Pod, PodName, Port

_SHOWN: Final = 6
"""Reasons that are told of one pod."""


class Room:
    """What is left at one gateway."""

    __slots__ = ("cpu_milli", "gateway", "memory_bytes", "owners", "pods", "ports")

    def __init__(self, gateway: Gateway) -> None:
        self.gateway = gateway
        used = gateway.used
        self.cpu_milli, self.memory_bytes, self.pods = used.cpu_milli, used.memory_bytes, used.pods
        self.ports: set[Port] = set(used.ports)
        self.owners: Counter[str] = Counter()

    def take(self, needs: Needs, owner: str = "") -> None:
        """Let a pod in."""
        self.cpu_milli += needs.cpu_milli
        self.memory_bytes += needs.memory_bytes
        self.pods += 1
        self.ports |= needs.ports
        if owner:
            self.owners[owner] += 1

    def lacks(self, needs: Needs) -> str:
        """What is missing for such a pod; empty if nothing is."""
        gateway = self.gateway
        if self.pods >= gateway.pods:
            return "have as many pods as they may"
        if gateway.cpu_milli is not None and needs.cpu_milli and self.cpu_milli + needs.cpu_milli > gateway.cpu_milli:
            return "have not enough CPU"
        asked = needs.memory_bytes
        if gateway.memory_bytes is not None and asked and self.memory_bytes + asked > gateway.memory_bytes:
            return "have not enough memory"
        if not self.ports.isdisjoint(needs.ports):
            return "use one of its ports already"
        return ""

    def fullness(self) -> float:
        """The share that is used of what is used most."""
        gateway = self.gateway
        shares = [self.pods / gateway.pods if gateway.pods else 1.0]
        if gateway.cpu_milli:
            shares.append(self.cpu_milli / gateway.cpu_milli)
        if gateway.memory_bytes:
            shares.append(self.memory_bytes / gateway.memory_bytes)
        return max(shares)


def kept_off(gateway: Gateway, needs: Needs) -> str:
    """Why such pods never go to a gateway as it is; empty if they may."""
    if needs.node:
        return "" if gateway.name == needs.node else f"are not {needs.node}"
    for key, value in needs.selector:
        has = gateway.name if key == LABEL_GATEWAY else gateway.labels.get(key)
        if has != value:
            return f"have not the label {key}: {value}"
    if gateway.unschedulable:
        return "take no new pods"
    for taint in gateway.taints:
        if taint.effect is not Effect.PREFER_NO_SCHEDULE and not needs.tolerates(taint):
            return f"have the taint {taint.key}"
    return "" if gateway.online else "are cut off"


class Rooms:
    """All gateways that pods may go to."""

    def __init__(self, gateways: Iterable[Gateway]) -> None:
        self._rooms = {one.name: Room(one) for one in gateways if not one.revoked}
        self._candidates: dict[Needs, tuple[list[Room], Counter[str]]] = {}

    def take(self, gateway: str, needs: Needs, owner: str = "") -> None:
        """Let a pod in that is there already."""
        if gateway in self._rooms:
            self._rooms[gateway].take(needs, owner)

    def place(self, pods: Sequence[Pod], taken: Mapping[PodName, frozenset[str]]) -> tuple[dict[PodName, str], str]:
        """Find a gateway for each of these pods, which ask for the same; and why the others have none.

        ``taken``: gateways that a pod cannot go to, because something of its name is there.
        """
        needs, owner = pods[0].needs, pods[0].owner
        if needs.node and needs.node not in self._rooms:
            return {}, f"there is no gateway {needs.node}"
        rooms, off = self._possible(needs)
        lacks: Counter[str] = Counter()
        heap = [(*self._rank(room, needs, owner), room.gateway.name) for room in rooms]
        heapq.heapify(heap)
        found: dict[PodName, str] = {}
        for pod in pods:
            aside = []
            while heap:
                *_, name = entry = heapq.heappop(heap)
                room = self._rooms[name]
                if name in taken.get(pod.name, ()):
                    aside.append(entry)
                    continue
                if lack := room.lacks(needs):
                    lacks[lack] += 1
                    continue
                room.take(needs, owner)
                found[pod.name] = name
                heapq.heappush(heap, (*self._rank(room, needs, owner), name))
                break
            for entry in aside:
                heapq.heappush(heap, entry)
            if pod.name not in found and aside:
                lacks["have a pod of its name"] = len(aside)
        return found, self._told(off + lacks)

    def _possible(self, needs: Needs) -> tuple[list[Room], Counter[str]]:
        known = self._candidates.get(needs)
        if known is None:
            rooms, off = [], Counter[str]()
            for room in self._rooms.values():
                if why := kept_off(room.gateway, needs):
                    off[why] += 1
                else:
                    rooms.append(room)
            known = self._candidates[needs] = rooms, off
        return known

    @staticmethod
    def _rank(room: Room, needs: Needs, owner: str) -> tuple[int, int, float]:
        soft = sum(one.effect is Effect.PREFER_NO_SCHEDULE and not needs.tolerates(one) for one in room.gateway.taints)
        return room.owners[owner] if owner else 0, soft, room.fullness()

    def _told(self, reasons: Counter[str]) -> str:
        head = f"0/{len(self._rooms)} gateways fit"
        parts = [f"{count} {why}" for why, count in sorted(reasons.items(), key=lambda one: (-one[1], one[0]))]
        return f"{head}: {', '.join(parts[:_SHOWN])}" if parts else head
