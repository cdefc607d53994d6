"""What gateways on one network make of what they hear: who may speak for whom, which word is newer, who is gone."""

import contextlib
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgehub.mesh.gossip import SILENT_MS, Gossip
from edgehub.mesh.learnt import Shape
from mesh.frames import Vote, Votes
from mesh.judging import Heard, Known, judged
from mesh.model.policies import StaleRule
from mesh.model.services import AppProtocol, Endpoint, Origin, PortKey, Service, ServiceKey, ServicePort, Transport
from mesh.registry import Said, merged_service
from twin.errors import EdgetwinError, InvalidMessage
from twin.wire import topics
from twin.wire.codec import encode
from twin.wire.peers import MeshEndpoint, MeshEndpoints, MeshOffer, MeshPort, MeshVote, MeshVotes

pytestmark = pytest.mark.fast
WEB = PortKey(ServiceKey("default", "web"), 80)
OF = MeshPort(service="web", port=80)
C = Endpoint("192.0.2.3", 8080, node="c", origin=Origin.PEER)


def gossip(own="a", peers=("b", "c"), **more) -> Gossip:
    made = Gossip(own, "run", peers, 0, **more)
    for peer in peers:
        made.reached(peer, 0, reached=True)
    return made


def offers(*addresses, gateway="c", run="r", number=1, **more):
    endpoints = [MeshEndpoint(address=one, port=8080) for one in addresses]
    return MeshEndpoints(
        gateway=gateway, run=run, number=number, offers=[MeshOffer(of=OF, endpoints=endpoints)], **more
    )


def votes(alive=False, gateway="b", run="r", number=1, place=C.place, **more):
    return MeshVotes(gateway=gateway, run=run, number=number, votes=[MeshVote(of=OF, place=place, alive=alive)], **more)


def tell(heard: Gossip, message, peer=None, now_ms=0, topic=None) -> bool:
    name = topics.mesh_endpoints if isinstance(message, MeshEndpoints) else topics.mesh_votes
    peer = peer or message.gateway
    return heard.took(peer, topic or name(peer), encode(message), now_ms)


def web(*endpoints) -> Service:
    return Service(WEB.service, "127.96.0.1", (ServicePort(80, endpoints=endpoints),))


def said_by(heard: Gossip, peer: str) -> Said:
    return next(one for one in heard.said() if one.node == peer)


def usable(heard: Gossip, service: Service, now_ms: int, here=None) -> list[tuple[str, bool]]:
    """Places that may be used and whether they come last, by the mesh's own rule."""
    others = {
        ballot.node: Heard({(one.port, one.place): one.healthy for one in ballot.votes}, now_ms - ballot.age_ms)
        for ballot in heard.ballots([service], now_ms)
    }
    known = Known(here or {}, others, peers=frozenset(heard.heard()))
    return [
        (one.place, one.stale) for one in judged(service, StaleRule(), known, now_ms).ports[0].endpoints if one.ready
    ]


def test_what_a_peer_offers_is_on_that_peer_whatever_it_says():
    heard = gossip()
    assert tell(heard, offers("192.0.2.3", "2001:db8::3", zone="hall-2"))
    said = said_by(heard, "c")
    assert said.heard
    assert said.endpoints[WEB] == (
        Endpoint("192.0.2.3", 8080, node="c", zone="hall-2", origin=Origin.PEER),
        Endpoint("2001:db8::3", 8080, node="c", zone="hall-2", origin=Origin.PEER),
    )
    merged = merged_service(web(), heard.said(), "a")
    assert [one.node for one in merged.ports[0].endpoints] == ["c", "c"]


def test_nobody_speaks_for_another():
    heard = gossip()
    tell(heard, offers("192.0.2.3"))
    for forged in (
        offers("203.0.113.66", gateway="c", number=9),
        votes(gateway="c"),
        offers("203.0.113.66", gateway="a"),
    ):
        with pytest.raises(InvalidMessage, match="in the name of"):
            tell(heard, forged, peer="b")
    assert said_by(heard, "b").endpoints == {}
    assert [one.address for one in said_by(heard, "c").endpoints[WEB]] == ["192.0.2.3"]


def test_topics_of_others_on_its_broker_are_passed_over():
    heard = gossip()
    assert not tell(heard, offers("203.0.113.66"), peer="b", topic=topics.mesh_endpoints("c"))
    assert not heard.took("b", "et/1/mesh/b/more", b"x", 0)
    assert said_by(heard, "c").endpoints == {}


@pytest.mark.parametrize("address", ["127.0.0.1", "::1", "0.0.0.0", "::", "224.0.0.1", "plc.example", "", "1.2.3"])
def test_addresses_that_cannot_be_a_peers_are_refused_and_the_last_word_holds(address):
    heard = gossip()
    tell(heard, offers("192.0.2.3"))
    with pytest.raises(EdgetwinError):
        tell(heard, offers("192.0.2.4", address, number=2))
    assert [one.address for one in said_by(heard, "c").endpoints[WEB]] == ["192.0.2.3"]


def test_a_peer_on_the_same_machine_may_offer_loopback():
    heard = gossip(near=["c"])
    assert tell(heard, offers("127.0.0.1"))
    with pytest.raises(EdgetwinError):
        tell(heard, offers("127.0.0.1", gateway="b"))


@pytest.mark.parametrize("name", ["No", "a/b", "+", "#", "x" * 64, "a b"])
def test_names_that_cannot_be_services_are_refused(name):
    heard = gossip()
    of = MeshPort.model_construct(namespace="default", service=name, port=80, transport="TCP")
    message = MeshEndpoints.model_construct(
        gateway="c", run="r", number=1, zone="", offers=[MeshOffer.model_construct(of=of, endpoints=[])]
    )
    with pytest.raises(EdgetwinError):
        tell(heard, message)
    of = MeshPort.model_construct(namespace=name, service="web", port=80, transport="TCP")
    vote = MeshVote.model_construct(of=of, place="x", alive=True)
    with pytest.raises(EdgetwinError):
        tell(heard, MeshVotes.model_construct(gateway="c", run="r", number=1, votes=[vote], silent=[]))


def test_of_one_run_the_greater_number_is_newer_and_another_run_begins_anew():
    heard = gossip()
    assert tell(heard, offers("192.0.2.3", number=5))
    assert not tell(heard, offers("192.0.2.4", number=4))
    assert not tell(heard, offers("192.0.2.4", number=5))
    assert not tell(heard, offers("192.0.2.3", number=6))
    assert tell(heard, offers("192.0.2.4", number=1, run="again"))
    assert [one.address for one in said_by(heard, "c").endpoints[WEB]] == ["192.0.2.4"]
    assert tell(heard, votes(alive=True, number=7))
    assert not tell(heard, votes(alive=False, number=7))
    assert tell(heard, votes(alive=False, number=8))
    assert heard.ballots([], 0)[1].votes == (Vote(port=WEB, place=C.place, healthy=False),)


def test_a_peer_that_is_lost_is_not_heard_its_word_is_kept_and_its_votes_are_not():
    heard = gossip()
    tell(heard, offers("192.0.2.3"))
    tell(heard, votes(gateway="c", place="192.0.2.2:1"))
    assert heard.reached("c", 100, reached=False)
    assert not heard.reached("c", 200, reached=False)
    assert heard.heard() == ("b",)
    assert not said_by(heard, "c").heard
    assert said_by(heard, "c").endpoints[WEB]
    assert [one.votes for one in heard.ballots([], 200) if one.node == "c"] == [()]


def test_a_peer_that_is_back_at_once_was_never_gone():
    heard = gossip()
    heard.reached("c", 100, reached=False)
    assert heard.silent(100 + SILENT_MS - 1) == ()
    assert heard.silent(100 + SILENT_MS) == ("c",)
    heard.reached("c", 5000, reached=True)
    assert heard.silent(9000) == ()


def test_two_gateways_that_both_miss_a_third_drop_it_and_one_alone_only_puts_it_last():
    b = Endpoint("192.0.2.2", 8080, node="b", origin=Origin.PEER)
    service, heard = web(b, C), gossip()
    heard.reached("c", 0, reached=False)
    assert usable(heard, service, 1000) == [(b.place, False), (C.place, False)]
    assert usable(heard, service, 3000) == [(b.place, False), (C.place, True)]
    tell(heard, votes(silent=["c"], place="192.0.2.9:1"), now_ms=3000)
    assert usable(heard, service, 3000) == [(b.place, False)]
    heard.reached("c", 4000, reached=True)
    tell(heard, votes(number=2, place="192.0.2.9:1"), now_ms=4000)
    assert usable(heard, service, 4000) == [(b.place, False), (C.place, False)]


def test_what_was_found_here_counts_whatever_peers_say():
    b = Endpoint("192.0.2.2", 8080, node="b", origin=Origin.PEER)
    service, heard = web(b, C), gossip()
    heard.reached("c", 0, reached=False)
    tell(heard, votes(silent=["c"]), now_ms=3000)
    assert usable(heard, service, 3000, here={(WEB, C.place): True}) == [(b.place, False), (C.place, False)]


def test_one_peer_that_lies_about_an_endpoint_cannot_take_it_away():
    b = Endpoint("192.0.2.2", 8080, node="b", origin=Origin.PEER)
    service, heard = web(b, C), gossip(peers=("b", "c", "d"))
    tell(heard, votes(alive=False))
    assert usable(heard, service, 0) == [(b.place, False), (C.place, True)]
    tell(heard, votes(alive=True, gateway="d"))
    assert usable(heard, service, 0) == [(b.place, False), (C.place, False)]


def test_a_peer_that_reaches_an_endpoint_says_so_though_it_misses_its_gateway():
    heard = gossip()
    tell(heard, votes(alive=True, silent=["c"]))
    assert heard.ballots([web(C)], 0)[1].votes == (Vote(port=WEB, place=C.place, healthy=True),)


def test_people_see_what_became_of_votes():
    b = Endpoint("192.0.2.2", 8080, node="b", origin=Origin.PEER)
    heard = gossip()
    assert heard.judged(web(b, C), 0) == web(b, C)
    heard.reached("c", 0, reached=False)
    assert [one.stale for one in heard.judged(web(b, C), 3000).ports[0].endpoints] == [False, True]
    tell(heard, votes(silent=["c"]), now_ms=3000)
    assert [one.ready for one in heard.judged(web(b, C), 3000).ports[0].endpoints] == [True, False]
    heard.found([Vote(port=WEB, place=C.place, healthy=True)])
    assert [one.ready for one in heard.judged(web(b, C), 3000).ports[0].endpoints] == [True, True]


def test_votes_grow_old():
    heard = gossip()
    tell(heard, votes(), now_ms=1000)
    assert [one.age_ms for one in heard.ballots([], 9000)] == [0, 8000, 0]


def test_what_is_offered_is_told_once_and_again_when_it_is_other():
    own = gossip()
    offered = {WEB: (Endpoint("192.0.2.1", 8080, node="a", hostname="web-0", weight=2),)}
    first = own.offer(offered, "hall-1")
    assert (first.gateway, first.run, first.number, first.zone) == ("a", "run", 1, "hall-1")
    assert first.offers[0].endpoints == [MeshEndpoint(address="192.0.2.1", port=8080, hostname="web-0", weight=2)]
    assert own.offer(dict(offered), "hall-1") is None
    assert own.offer({WEB: ()}, "hall-1").number == 2
    assert own.offered().offers == []


def test_how_a_port_is_is_told_with_it():
    own, heard = gossip("c", ("a",)), gossip()
    offered = {WEB: (Endpoint("192.0.2.3", 8080, node="c"),)}
    http = {WEB: Shape("http", AppProtocol.HTTP, headless=True)}
    tell(heard, own.offer(offered, "", http))
    assert heard.shapes() == http
    assert tell(heard, own.offer(offered, "", {WEB: Shape("web")}))  # it is another
    assert heard.shapes() == {WEB: Shape("web")}
    # Of two that differ the first by name counts, every time.
    tell(heard, offers("192.0.2.2", gateway="b"))
    assert heard.shapes() == {WEB: Shape()}


@pytest.mark.parametrize("name", ["Web", "a.b", "-a", "a" * 64, "a\n"])
def test_a_port_that_is_called_what_no_port_may_be_is_refused(name):
    text = encode(offers("192.0.2.3")).replace(b'"of":', f'"name":{json.dumps(name)},"of":'.encode())
    with pytest.raises(EdgetwinError):
        gossip().took("c", topics.mesh_endpoints("c"), text, 0)


def test_what_was_found_is_told_until_the_endpoint_is_gone():
    own = gossip()
    assert own.found([Vote(port=WEB, place=C.place, healthy=False)])
    assert not own.found([Vote(port=WEB, place=C.place, healthy=False)])
    assert own.votes(0).votes == [MeshVote(of=OF, place=C.place, alive=False)]
    own.keep([web(C)])
    assert own.votes(0).number == 2
    assert own.votes(0).votes
    own.keep([web()])
    assert own.votes(0).votes == []


def test_who_is_missed_is_told():
    own = gossip()
    own.reached("c", 0, reached=False)
    assert own.votes(SILENT_MS).silent == ["c"]
    assert Votes(node="a", votes=()) in own.ballots([web(C)], 0)


@given(
    st.lists(
        st.tuples(st.sampled_from("abc"), st.sampled_from(["192.0.2.1", "192.0.2.2"]), st.integers(1, 5)), max_size=5
    )
)
def test_what_one_gateway_tells_another_understands(spoken):
    endpoints = {}
    for name, address, port in spoken:
        key = PortKey(ServiceKey("default", name), port, Transport.UDP if port % 2 else Transport.TCP)
        endpoints[key] = (Endpoint(address, port, node="a", ready=bool(port % 3), weight=port),)
    message = Gossip("a", "r", (), 0).offer(endpoints, "hall-9")
    heard = gossip("b", ("a",))
    tell(heard, message)
    said = said_by(heard, "a").endpoints
    assert set(said) == set(endpoints)
    for key, ones in endpoints.items():
        assert [(one.address, one.port, one.ready, one.weight, one.zone) for one in said[key]] == [
            (one.address, one.port, one.ready, one.weight, "hall-9") for one in ones
        ]


@given(st.binary(max_size=60))
def test_garbage_is_refused_and_changes_nothing(payload):
    heard = gossip()
    tell(heard, offers("192.0.2.3"))
    for topic in (topics.mesh_endpoints("c"), topics.mesh_votes("c")):
        with contextlib.suppress(EdgetwinError):
            heard.took("c", topic, payload, 0)
    assert [one.address for one in said_by(heard, "c").endpoints[WEB]] == ["192.0.2.3"]
