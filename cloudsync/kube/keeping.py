"""Keeps a Node and a Lease for each gateway: made when it first has a session, renewed while it has one."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from cloudsync.kube.client import KubeClient
from cloudsync.kube.errors import Absent, Conflict, Rejected
from cloudsync.kube.nodes import (
    LEASE_NAMESPACE,
    LEASE_S,
    Gateway,
    gateway_of,
    new_lease,
    new_node,
    node_labels,
    node_name,
    node_status,
    renewed,
    said,
)
from cloudsync.kube.objects import LEASES, NODES, KubeObject, Place, part
from cloudsync.kube.view import ClusterView
from twin.model import Value

RENEW_S: Final = LEASE_S / 4
AT_MOST_S: Final = 2.0
"""How often the status of one node is written, however often its line comes and goes."""
HEARTBEAT_S: Final = 300.0
"""How often a status is written in which nothing but its time is new."""

log = logging.getLogger(__name__)


@dataclass(slots=True)
class _Kept:
    renewed_s: float = float("-inf")
    written_s: float = float("-inf")
    again_s: float = float("-inf")
    """When to look again whether the name is free."""


class Nodes:
    """The nodes of all gateways. Each method raises KubeError; what was done until then stands."""

    def __init__(self, client: KubeClient, view: ClusterView, *, prefix: str, taint: bool) -> None:
        self._client = client
        self._view = view
        self._prefix = prefix
        self._taint = taint
        self._kept: dict[str, _Kept] = {}

    async def keep(self, gateways: Mapping[str, Gateway], *, now_ms: int, now_s: float) -> None:
        """Bring nodes and leases up to date; nodes of gateways that are not among these go."""
        for node in list(self._view.all(NODES)):
            name = gateway_of(node)
            if name and name not in gateways and not node.deleting:
                log.info("gateway %s is none of this cloud any more, its node goes", name)
                await self._gone(node)
                self._kept.pop(name, None)
        for gateway in gateways.values():
            if gateway.heard_at:
                try:
                    await self._keep(gateway, now_ms, now_s)
                except Rejected as error:
                    log.warning("the node of gateway %s: %s", gateway.name, error)

    async def _keep(self, gateway: Gateway, now_ms: int, now_s: float) -> None:
        name = node_name(self._prefix, gateway.name)
        kept = self._kept.setdefault(gateway.name, _Kept())
        node = self._view.get(NODES, Place("", name))
        if node is None and now_s < kept.again_s:
            return
        try:
            node = node or await self._made(gateway, name)
            if gateway_of(node) != gateway.name:
                log.warning(
                    "there is a node %s that is no gateway; set kube.node_prefix for gateway %s", name, gateway.name
                )
                kept.again_s = now_s + HEARTBEAT_S
                return
            labels = node_labels(gateway, name)
            if not labels.items() <= part(node.metadata, "labels").items():
                relabelled: Value = {"labels": dict(labels)}
                node = await self._client.merge(NODES, node.place, {"metadata": relabelled})
            status = node_status(gateway, node, now_ms)
            since_s = now_s - kept.written_s
            if since_s >= HEARTBEAT_S or (since_s >= AT_MOST_S and said(status) != said(node.status)):
                known: Value = {"resourceVersion": node.version}
                patch = {"metadata": known, "status": status}
                node = await self._client.merge(NODES, node.place, patch, "status")
                kept.written_s = now_s
            self._view.written(NODES, node)
        except Conflict:
            return  # somebody else wrote; the watch tells of it, and the next look goes by that
        if gateway.alive and now_s - kept.renewed_s >= RENEW_S:
            await self._renew(name, node, now_ms)
            kept.renewed_s = now_s

    async def _made(self, gateway: Gateway, name: str) -> KubeObject:
        try:
            node = await self._client.create(NODES, "", new_node(gateway, name, taint=self._taint))
        except Conflict:
            return await self._client.get(NODES, Place("", name))
        log.info("gateway %s is the node %s", gateway.name, name)
        return node

    async def _renew(self, name: str, node: KubeObject, now_ms: int) -> None:
        try:
            await self._client.merge(LEASES, Place(LEASE_NAMESPACE, name), renewed(name, now_ms))
        except Absent:
            await self._client.create(LEASES, LEASE_NAMESPACE, new_lease(name, node, now_ms))

    async def _gone(self, node: KubeObject) -> None:
        try:
            await self._client.delete(NODES, node.place, uid=node.uid)
        except (Absent, Conflict):
            log.debug("the node %s was gone already", node.place)
