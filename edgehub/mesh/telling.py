"""How services and routes are, put together from what is wanted and what the process says; for twins and the API."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from edgehub.mesh.here import Place
from edgehub.mesh.state import State
from edgehub.mesh.twins import Live, absent_twin, route_twin, service_twin
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


def reply_of(request: MeshRequest, state: State, basic: MeshReply) -> MeshReply:
    """The answer of the verb mesh; ``basic`` says how the process is."""
    return basic.model_copy(
        update={
            "traffic": list(state.traffic.bodies()) if "traffic" in request.parts else [],
            "calls": list(state.traffic.calls()) if "calls" in request.parts else [],
            "checks": checks_of(state) if "checks" in request.parts else [],
        }
    )


def checks_of(state: State) -> list[CheckBody]:
    """What the process found when it got ready."""
    if state.ready is None:
        return []
    return [
        CheckBody(check=f"plane-{one.plane}", well=True, text=one.why_not or f"the plane {one.plane} is there")
        for one in state.ready.planes
    ]
