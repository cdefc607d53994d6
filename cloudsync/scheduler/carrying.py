"""What a gateway's set is to have of the cloud's own, and what is to be put there or taken away. Pure.

placements of pods ──the pods, and the ConfigMaps and Secrets that they name──> wanted ──against what is there──> Errand
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Final

from cloudsync.store.workloads import Placement, PlacementState, Workload
from twin.exchange import DocumentRef
from twin.manifest.document import DocumentKind
from twin.model import Value

WORKLOAD: Final = "edgetwin.dev/workload"
"""The annotation that says which workload of the cloud a document at a gateway was made from."""
OWNER: Final = "edgetwin.dev/deployment"
"""The same of the Deployment that the pod was made for."""
FOR_SCHEDULERS: Final = ("nodeSelector", "tolerations")
"""Keys of a pod's spec that its gateway has no use for."""


@dataclass(frozen=True, slots=True)
class Errand:
    """What is to be done at one gateway."""

    gateway: str
    put: Mapping[DocumentRef, Placement] = field(default_factory=dict)
    """Documents, and the placement as it is once they are there, but for the hash."""
    begin: tuple[Placement, ...] = ()
    """Placements that have to be on disk first."""
    remove: frozenset[DocumentRef] = frozenset()
    forget: frozenset[tuple[str, DocumentRef]] = frozenset()
    """Placements that are over once that is done."""

    @property
    def empty(self) -> bool:
        """Whether there is nothing to do."""
        return not (self.put or self.remove or self.forget)


def errand(
    gateway: str,
    placements: Mapping[DocumentRef, Placement],
    there: Mapping[DocumentRef, str],
    wanted: Mapping[DocumentRef, str],
    now: int,
) -> Errand:
    """What is to be done at a gateway.

    ``there``: the hash of each document of the kinds in question; ``wanted``: what each was to be made from, and for
    which there is a workload. A ConfigMap or Secret of the gateway's own is left as it is.
    """
    put: dict[DocumentRef, Placement] = {}
    begin: list[Placement] = []
    for ref, source in wanted.items():
        placement = placements.get(ref)
        if placement is None:
            if ref in there:
                continue
            placement = Placement(gateway, ref, source.partition(":")[0], since=now)
            begin.append(placement)
        if placement.source != source or there.get(ref) != placement.hash:
            put[ref] = replace(placement, source=source)
    over = {ref for ref in placements if ref not in wanted}
    carried = {ref for ref in over if ref.kind != DocumentKind.POD}
    left = {ref for ref in over - carried if placements[ref].state is not PlacementState.BOUND}
    return Errand(
        gateway,
        put,
        tuple(begin),
        frozenset(ref for ref in carried | left if ref in there),
        frozenset((gateway, ref) for ref in carried),
    )


def placed_raw(workload: Workload, gateway: str) -> dict[str, Value]:
    """The document of a workload as a gateway gets it."""
    about = workload.raw["metadata"]
    assert isinstance(about, dict)
    said = about.get("annotations")
    ours: dict[str, Value] = {WORKLOAD: workload.uid, **({OWNER: workload.owner} if workload.owner else {})}
    notes: Value = {**(said if isinstance(said, dict) else {}), **ours}
    metadata: Value = {**{key: one for key, one in about.items() if key != "ownerReferences"}, "annotations": notes}
    raw: dict[str, Value] = {**workload.raw, "metadata": metadata}
    if workload.ref.kind == DocumentKind.POD:
        spec = workload.raw["spec"]
        assert isinstance(spec, dict)
        raw["spec"] = {**{key: one for key, one in spec.items() if key not in FOR_SCHEDULERS}, "nodeName": gateway}
    return raw
