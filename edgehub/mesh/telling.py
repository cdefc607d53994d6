"""How services and routes are, put together from what is wanted and what the process says; for twins and the API."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping

from edgehub.mesh.begin import joined
from edgehub.mesh.carrier import Carrier
from edgehub.mesh.here import Place
from edgehub.mesh.state import State
from edgehub.mesh.twins import Live, absent_twin, route_twin, service_twin
from edgehub.mesh_settings import MeshSettings
from mesh.compile import Compiled
from mesh.model.routes import RouteKey
from mesh.model.services import Service, ServiceKey
from mesh.problems import Subject
from twin.wire.mesh import CheckBody, MeshReply, MeshRequest, RouteRates, RouteTwin


def twin_of(
    subject: Subject,
    compiled: Compiled,
    state: State,
    rates: Mapping[str, RouteRates],
    place: Place,
    judged: Callable[[Service], Service],
) -> RouteTwin:
    """What the twin of a service or route reports. ``judged`` weighs the votes of other gateways."""
    problems = state.problems.get(subject, ())
    programmed = state.programmed > 0
    rate = rates.get(str(subject), RouteRates())
    if isinstance(subject, ServiceKey) and (service := compiled.table.services.get(subject)):
        live = Live(
            state.traffic.health(),
            rate,
            state.traffic.breakers().get(subject, ""),
            state.alerts_of(subject),
        )
        return service_twin(judged(service), compiled.programme, problems, live, place, programmed=programmed)
    if isinstance(subject, RouteKey) and (route := compiled.table.routes.get(subject)):
        return route_twin(route, problems, rate, programmed=programmed)
    return absent_twin(subject, problems)


def reply_of(request: MeshRequest, carrier: Carrier, settings: MeshSettings) -> MeshReply:
    """The answer of the verb mesh."""
    state, dns = carrier.state, settings.dns_address
    return MeshReply(
        state="running" if state.ready is not None else "starting",
        pid=carrier.pid,
        restarts=carrier.restarts,
        network=settings.network,
        dns=joined(*dns) if dns is not None else "",
        domain=settings.dns.domain,
        metrics=settings.metrics.listen,
        tunnel=settings.tunnel.listen,
        problems=list(state.ready.problems) if state.ready is not None else [],
        traffic=list(state.traffic.bodies()) if "traffic" in request.parts else [],
        calls=list(state.traffic.calls()) if "calls" in request.parts else [],
        checks=checks_of(state) if "checks" in request.parts else [],
    )


def variables(services: Iterable[Service], namespace: str) -> dict[str, str]:
    """Kubernetes' variables for the Services of a namespace."""
    found: dict[str, str] = {}
    for service in services:
        if service.key.namespace == namespace and service.address and service.ports:
            name = _as_variable(service.key.name)
            found[f"{name}_SERVICE_HOST"] = service.address
            found[f"{name}_SERVICE_PORT"] = str(service.ports[0].port)
            found |= {
                f"{name}_SERVICE_PORT_{_as_variable(one.name)}": str(one.port) for one in service.ports if one.name
            }
    return found


def _as_variable(name: str) -> str:
    return name.upper().replace("-", "_").replace(".", "_")


def checks_of(state: State) -> list[CheckBody]:
    """What the process found when it got ready."""
    if state.ready is None:
        return []
    return [
        CheckBody(check=f"plane-{one.plane}", well=True, text=one.why_not or f"the plane {one.plane} is there")
        for one in state.ready.planes
    ]
