"""The annotations by which a Service or route says where it goes: its data plane, and gateways of a cloud. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Final

from twin.manifest.document import Document
from twin.manifest.kube_rules import annotations_of
from twin.manifest.problems import Problem, suggestion
from twin.model import NAME, NAME_RULE

PLANE: Final = "edgetwin.dev/plane"
"""The data plane of a Service or route."""
PLANES: Final = ("userspace", "nftables")
GATEWAYS: Final = "edgetwin.dev/gateways"
"""Gateways that get a Service of the cloud without using it: ``*``, or names."""
TUNNEL: Final = "edgetwin.dev/tunnel"
"""On EndpointSlices of another gateway: it is reached through its tunnel at host:port; empty: by the relay."""


def broken_marks(document: Document) -> Iterator[Problem]:
    """Find what is wrong in the annotations by which a Service or route says where it goes."""
    annotations = annotations_of(document)
    plane = annotations.get(PLANE)
    if plane is not None and plane not in PLANES:
        remedy = suggestion(plane, PLANES, what="Leave it out, or use")
        yield document.problem(("metadata", "annotations", PLANE), f"there is no data plane {plane[:60]}", remedy)
    wrong = [one for one in gateways_of(annotations) or () if NAME.fullmatch(one) is None]
    if wrong:
        text = f"{wrong[0][:60]!r} is not the name of a gateway"
        remedy = f'Write "*" for all, or names with commas between them: {NAME_RULE}.'
        yield document.problem(("metadata", "annotations", GATEWAYS), text, remedy)


def gateways_of(annotations: Mapping[str, str]) -> tuple[str, ...] | None:
    """The gateways that a Service goes to without their using it; None: all."""
    said = annotations.get(GATEWAYS, "")
    return None if said.strip() == "*" else tuple(filter(None, (one.strip() for one in said.split(","))))
