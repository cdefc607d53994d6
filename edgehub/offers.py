"""What runs on this gateway and can be behind Services: pods and mappers, found by their labels. Pure."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import TypeAlias

from edgehub.kubeapi.pod_status import address_of, is_ready
from twin.document import Slot
from twin.manifest.catalog import RegistryView, Stored
from twin.manifest.document import DocumentKind
from twin.manifest.kube import PodSpec
from twin.manifest.kube_network import ServicePort, ServiceSpec
from twin.model import Kind, TwinKey

Reported: TypeAlias = Callable[[TwinKey, str], Mapping[str, Slot]]
"""What the twin of a document, given its uid, reports; nothing if there is none (yet)."""


@dataclass(frozen=True, slots=True)
class Offer:
    """One pod or mapper that Services can select."""

    stored: Stored
    address: str
    ready: bool
    named: Mapping[tuple[str, str], int]
    """Its ports by name and protocol."""
    only_named: bool = False
    """Whether it listens on no other numbers."""

    def number(self, port: ServicePort) -> int | None:
        """The port behind one of a Service; None if it has none."""
        target, protocol = port.target_port or port.port, port.protocol
        if isinstance(target, str):
            return self.named.get((target, protocol))
        offered = not self.only_named or any(
            (number, of) == (target, protocol) for (_, of), number in self.named.items()
        )
        return target if offered else None


class Offers:
    """All of one moment, and which of them a Service selects."""

    def __init__(self, offers: Iterable[Offer]) -> None:
        self._by_namespace: defaultdict[str, list[Offer]] = defaultdict(list)
        for one in offers:
            self._by_namespace[one.stored.ref.namespace].append(one)

    def __iter__(self) -> Iterator[Offer]:
        """All of them."""
        return (one for ones in self._by_namespace.values() for one in ones)

    def selected(self, service: Stored) -> list[Offer]:
        """Those behind a Service; none if it selects nothing."""
        spec = service.document.spec
        assert isinstance(spec, ServiceSpec)
        if not spec.selector:
            return []
        wanted = spec.selector.items()
        ones = self._by_namespace.get(service.ref.namespace, ())
        return [one for one in ones if wanted <= one.stored.document.labels.items()]


def pods_here(view: RegistryView, node: str) -> Iterator[tuple[Stored, PodSpec]]:
    """The pods that this gateway runs."""
    for stored in view.all(DocumentKind.POD):
        spec = stored.document.spec
        assert isinstance(spec, PodSpec)
        if spec.node_name in (None, node):
            yield stored, spec


def of_pods(pods: Iterable[tuple[Stored, PodSpec]], reported: Reported, host: str) -> Iterator[Offer]:
    """What these pods offer, as far as they have an address; ``host`` is that of the gateway."""
    for stored, spec in pods:
        told = reported(TwinKey(Kind.POD, stored.ref.namespace, stored.ref.name), stored.uid)
        if address := address_of(spec, told, host):
            ports = (one for container in spec.containers for one in container.ports)
            named: dict[tuple[str, str], int] = {
                (one.name, one.protocol): one.container_port for one in ports if one.name
            }
            yield Offer(stored, address, is_ready(told), named)
