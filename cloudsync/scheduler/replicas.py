"""How many pods of a Deployment there are to be, and which go. Pure.

old template ──as many as may be missing──> drop ......... make <──as many as may be too many── new template
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final, NamedTuple

from cloudsync.scheduler.model import Deployment, Pod, PodName

MAX_STEM: Final = 55
"""Of a pod's name before its own part."""


class Where(NamedTuple):
    """How it stands with a pod."""

    gateway: str
    """Empty: it has none."""
    there: bool
    """Whether that gateway is heard of."""
    holds: bool
    """Whether others would have to wait for it to end, where it is or has to leave."""


class Change(NamedTuple):
    """What a Deployment wants changed."""

    make: int
    drop: tuple[Pod, ...]


def change(deployment: Deployment, pods: Sequence[Pod], where: Mapping[PodName, Where], held: int) -> Change:
    """What is to be made and dropped now. ``held``: stays of dropped pods that others have to wait for."""
    current = [one for one in pods if one.made == deployment.template.made]
    old = [one for one in pods if one.made != deployment.template.made]
    wanted = deployment.replicas
    if deployment.recreate:
        drop, most = old, 0 if held or any(where[one.name].holds for one in old) else wanted
    else:
        drop, most = _replaced(deployment, current, old, where), wanted + (deployment.surge if old or held else 0)
    lasting = len(pods) + held - sum(not where[one.name].holds for one in drop)
    make = max(0, min(wanted - len(current), most - lasting))
    crowd = Counter(where[one.name].gateway for one in pods)
    by_worth = sorted(current, key=lambda one: _worth(one, where, crowd))
    return Change(make, (*drop, *by_worth[: max(0, len(current) - wanted)]))


def _replaced(
    deployment: Deployment, current: Sequence[Pod], old: Sequence[Pod], where: Mapping[PodName, Where]
) -> list[Pod]:
    """Old pods that may go now: all that do not serve, and as many of the others as may be missing."""
    idle = [one for one in old if not _serves(one, where)]
    serving = [one for one in old if _serves(one, where)]
    spare = len(serving) + sum(_serves(one, where) for one in current) - (deployment.replicas - deployment.missing)
    crowd = Counter(where[one.name].gateway for one in (*current, *old))
    serving.sort(key=lambda one: _worth(one, where, crowd))
    return [*idle, *serving[: max(0, spare)]]


def _serves(pod: Pod, where: Mapping[PodName, Where]) -> bool:
    return pod.ready and where[pod.name].there


def _worth(pod: Pod, where: Mapping[PodName, Where], crowd: Mapping[str, int]) -> tuple[bool, bool, int, int, PodName]:
    """Sorts what is missed least first: without a gateway, not serving, many at one gateway, newest."""
    place = where[pod.name]
    return bool(place.gateway), _serves(pod, where), -crowd[place.gateway], -pod.at, pod.name


@dataclass(frozen=True, slots=True)
class Ids:
    """Draws what no two pods share: the last part of a name, and a uid."""

    name: Callable[[], str]
    uid: Callable[[], str]


def made_pods(deployment: Deployment, count: int, taken: Callable[[PodName], bool], ids: Ids) -> list[Pod]:
    """So many new pods, each with a name that nobody has."""
    namespace, stem = deployment.name.namespace, deployment.name.name[:MAX_STEM].rstrip("-.")
    pods: dict[PodName, Pod] = {}
    while len(pods) < count:
        name = PodName(namespace, f"{stem}-{ids.name()}")
        if name not in pods and not taken(name):
            pods[name] = replace(deployment.template, name=name, uid=ids.uid(), owner=deployment.uid)
    return list(pods.values())
