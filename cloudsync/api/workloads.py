"""The verb workloads: what the cloud itself is to have run, joined with what gateways report of it."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any, Final

from cloudsync.scheduler.reading import made_from
from cloudsync.sessions import is_online
from cloudsync.store import CloudStore
from cloudsync.store.workloads import Placement, PlacementState, PodReport, Workload
from twin.api import Caller, Served
from twin.clock import Clock
from twin.exchange import DocumentRef
from twin.manifest.document import DocumentKind
from twin.model import Kind, TwinKey, Value
from twin.wire.api import Verb
from twin.wire.cloud_api import CloudDeploymentBody, CloudPodBody, WorkloadsReply, WorkloadsRequest

_REPORTED: Final = ("phase", "ready", "restarts", "reason", "message")
_OF_A_DEPLOYMENT: Final = 1_000


class WorkloadsVerb:
    """Served by every worker."""

    def __init__(self, store: CloudStore, clock: Clock) -> None:
        self._store = store
        self._clock = clock

    def verbs(self) -> dict[Verb, Served[Any]]:
        """What an ApiServer is to serve."""
        return {Verb.WORKLOADS: Served(WorkloadsRequest, self.workloads)}

    async def workloads(self, request: WorkloadsRequest, _: Caller) -> WorkloadsReply:
        """One page."""
        kind = DocumentKind.POD if request.kind == "pods" else DocumentKind.DEPLOYMENT
        found = await self._store.workloads.page(
            kind.value, namespace=request.namespace, after=request.after, limit=request.limit + 1
        )
        page = found[: request.limit]
        after = _name(page[-1].ref) if len(found) > len(page) else ""
        if kind is DocumentKind.DEPLOYMENT:
            return WorkloadsReply(deployments=[await self._deployment(one) for one in page], after=after)
        deployments = await self._names()
        pods = await self._pods(page, deployments)
        if not after:
            pods += await self._deleted(request)
        return WorkloadsReply(pods=pods, after=after)

    async def _pods(self, page: Sequence[Workload], deployments: Mapping[str, str]) -> list[CloudPodBody]:
        stays: dict[DocumentRef, list[Placement]] = defaultdict(list)
        for one in await self._store.workloads.placements([one.ref for one in page]):
            stays[one.ref].append(one)
        keys = [TwinKey(Kind.POD, one.ref.namespace, one.ref.name) for one in page]
        reports = await self._store.workloads.reports(keys, _REPORTED)
        now = self._clock.now_us() // 1000
        cut_off = {one.gateway for one in await self._store.workloads.presences() if not is_online(one, now)}
        return [
            _pod(one, stays[one.ref], reports.get(key), deployments.get(one.owner, ""), cut_off)
            for one, key in zip(page, keys, strict=True)
        ]

    async def _deployment(self, one: Workload) -> CloudDeploymentBody:
        pods = await self._store.workloads.owned(one.uid, limit=_OF_A_DEPLOYMENT)
        bodies = await self._pods(pods, {})
        spec = one.raw["spec"]
        replicas = spec.get("replicas", 1) if isinstance(spec, dict) else 1
        made = made_from(one.raw)
        return CloudDeploymentBody(
            deployment=_name(one.ref),
            replicas=replicas if isinstance(replicas, int) else 1,
            pods=len(pods),
            current=sum(pod.made == made for pod in pods),
            placed=sum(bool(body.gateway) for body in bodies),
            ready=sum(body.ready and not body.cut_off for body in bodies),
            reason=next((body.reason for body in bodies if not body.gateway), ""),
        )

    async def _names(self) -> dict[str, str]:
        """The names of Deployments by their uids."""
        found = await self._store.workloads.identities()
        return {one.uid: _name(one.ref) for one in found if one.ref.kind == DocumentKind.DEPLOYMENT}

    async def _deleted(self, request: WorkloadsRequest) -> list[CloudPodBody]:
        """Pods that are gone, and that gateways may not have ended yet."""
        alive = {one.ref for one in await self._store.workloads.identities()}
        stays: dict[DocumentRef, list[str]] = defaultdict(list)
        for one in await self._store.workloads.placements():
            if one.ref.kind == DocumentKind.POD and one.ref not in alive:
                stays[one.ref].append(one.gateway)
        return [
            CloudPodBody(pod=_name(ref), phase="Deleted", may_run_at=gateways, deleted=True)
            for ref, gateways in sorted(stays.items())
            if request.namespace in ("", ref.namespace)
        ]


def _pod(
    one: Workload, stays: Sequence[Placement], report: PodReport | None, deployment: str, cut_off: set[str]
) -> CloudPodBody:
    bound = next((stay for stay in stays if stay.state is PlacementState.BOUND), None)
    body = CloudPodBody(
        pod=_name(one.ref),
        deployment=deployment,
        gateway=bound.gateway if bound else "",
        cut_off=bound is not None and bound.gateway in cut_off,
        may_run_at=[stay.gateway for stay in stays if stay is not bound],
    )
    if bound is None:
        return body.model_copy(update={"reason": one.why or "it was not looked at yet"})
    if report is None or report.gateway != bound.gateway:
        return body
    return body.model_copy(update=dict(_known(report.reported)))


def _known(reported: Mapping[str, Value]) -> Mapping[str, Value]:
    """What fits the body: a gateway may be of another release."""
    types: dict[str, type] = {"phase": str, "ready": bool, "restarts": int, "reason": str, "message": str}
    return {name: value for name, value in reported.items() if name in types and type(value) is types[name]}


def _name(ref: DocumentRef) -> str:
    return f"{ref.namespace}/{ref.name}"
