"""Services that a gateway knows from others alone."""

import pytest

from edgehub.mesh.learnt import MOST, Shape, learnt, shapes_of
from mesh.model.services import AppProtocol, PortKey, Service, ServiceKey, ServicePort, Transport

pytestmark = pytest.mark.fast
WEB = ServiceKey("plant", "web")
HTTP, RAW = PortKey(WEB, 80), PortKey(WEB, 81, Transport.UDP)


def address_of(key, wanted):
    assert wanted == ""
    return f"127.96.0.{len(key.name)}"


def test_a_service_that_is_told_has_an_address_and_its_ports():
    told = {RAW: Shape("raw"), HTTP: Shape("http", AppProtocol.HTTP)}
    ports = (ServicePort(80, "http", app=AppProtocol.HTTP), ServicePort(81, "raw", Transport.UDP))
    assert learnt(told, set(), address_of) == {WEB: Service(WEB, "127.96.0.3", ports)}


def test_what_has_a_document_here_is_not_learnt():
    assert learnt({HTTP: Shape()}, {WEB}, address_of) == {}


def test_a_headless_service_gets_no_address_unless_somebody_gives_it_one():
    assert learnt({HTTP: Shape(headless=True)}, set(), address_of)[WEB].address == ""
    both = {HTTP: Shape(headless=True), RAW: Shape()}
    assert learnt(both, set(), address_of)[WEB].address == "127.96.0.3"


def test_a_name_is_of_one_port_alone():
    two = learnt({HTTP: Shape("http"), PortKey(WEB, 8080): Shape("http")}, set(), address_of)[WEB]
    assert [(one.port, one.name) for one in two.ports] == [(80, "http"), (8080, "")]


def test_no_more_than_so_many_are_taken():
    told = {PortKey(ServiceKey("plant", f"s{number:05}"), 80): Shape() for number in range(MOST + 5)}
    found = learnt(told, set(), address_of)
    assert len(found) == MOST
    assert max(found) == ServiceKey("plant", f"s{MOST - 1:05}")


def test_what_one_gateway_tells_is_what_another_learns():
    services = [
        Service(WEB, "10.96.0.9", (ServicePort(80, "http", app=AppProtocol.HTTP), ServicePort(81))),
        Service(ServiceKey("plant", "all"), "", (ServicePort(80, "tls", app=AppProtocol.TLS),)),
    ]
    found = learnt(shapes_of(services), set(), lambda _key, _wanted: "10.96.0.9")
    assert sorted(found.values(), key=lambda one: one.key) == sorted(services, key=lambda one: one.key)
