"""What the doctor finds on the way from a name to an endpoint, one broken link at a time."""

import pytest

from edgehub.mesh.doctor import Verdict, examine
from twin.wire.mesh import CheckBody, ConditionBody, MeshReply, RouteEndpoint, RoutePort, RouteTwin

pytestmark = pytest.mark.fast

MESH = MeshReply(state="running", pid=7, network="127.96.0.0/16", dns="127.96.0.10:10053", domain="cluster.local")
READY = RouteEndpoint(port=80, place="192.0.2.1:8080", origin="here")
WEB = RouteTwin(
    kind="Service",
    name="plant/web",
    address="127.96.1.2",
    ports=[RoutePort(port=80, plane="userspace")],
    endpoints=[READY],
    conditions={"Programmed": ConditionBody(holds=True, reason="Programmed")},
)


class Sound:
    """Everything works; each test breaks one thing."""

    def __init__(self, address="127.96.1.2", refuses="", ours=True, resolv="nameserver 192.0.2.53\n", silent=()):
        self.address, self.refuses, self.ours, self.resolv, self.silent = address, refuses, ours, resolv, silent

    def ask(self, server, name, record, *, tcp):
        if tcp in self.silent:
            raise OSError(110, "timed out")
        return ("NOERROR", [] if record == "SOA" else [f"{name}. 5 A {self.address}"])

    def connect(self, address, port):
        return self.refuses

    def is_ours(self, address):
        return self.ours

    def resolv_conf(self):
        return self.resolv


def broken(mesh=MESH, routes=(WEB,), **outside):
    found = list(examine(mesh, routes, Sound(**outside)))
    return {one.code: one for one in found if one.verdict is not Verdict.WELL}


def test_nothing_is_found_where_all_is_well():
    assert broken() == {}


@pytest.mark.parametrize(
    ("code", "given"),
    [
        ("dns-udp", {"silent": (False,)}),
        ("dns-tcp", {"silent": (True,)}),
        ("dns-names", {"address": "127.96.9.9"}),
        ("ports", {"refuses": "Connection refused"}),
        ("addresses", {"ours": False}),
        ("process", {"mesh": MESH.model_copy(update={"state": "starting"})}),
        (
            "nftables",
            {"mesh": MESH.model_copy(update={"checks": [CheckBody(check="nftables", well=False, text="gone")]})},
        ),
        ("plane", {"mesh": MESH.model_copy(update={"problems": ["port taken"]})}),
        ("endpoints", {"routes": [WEB.model_copy(update={"endpoints": []})]}),
        (
            "endpoints",
            {"routes": [WEB.model_copy(update={"endpoints": [READY.model_copy(update={"health": "ejected"})]})]},
        ),
        (
            "conditions",
            {
                "routes": [
                    WEB.model_copy(update={"conditions": {"Accepted": ConditionBody(holds=False, reason="Loop")}})
                ]
            },
        ),
    ],
)
def test_a_broken_link_is_the_finding(code, given):
    found = broken(**given)
    assert found[code].verdict is Verdict.BROKEN
    assert set(found) <= {code, "ports"}


@pytest.mark.parametrize("resolv", ["nameserver 127.96.0.10\n", "# nothing\n"])
def test_a_resolver_that_depends_on_the_mesh_or_on_nothing_is_doubtful(resolv):
    assert broken(resolv=resolv)["resolv-conf"].verdict is Verdict.DOUBTFUL


def test_a_mesh_that_has_nothing_to_do_is_no_fault():
    found = broken(mesh=MeshReply(state="idle"), routes=())
    assert [one.verdict for one in found.values()] == [Verdict.DOUBTFUL]


def test_a_port_without_a_ready_endpoint_is_not_tried_for_it_may_refuse():
    found = broken(routes=[WEB.model_copy(update={"endpoints": []})], refuses="Connection refused")
    assert set(found) == {"endpoints"}
