"""The names of the cluster domain: which there are, what they lead to, and what is said of the others."""

from collections import Counter
from dataclasses import replace
from ipaddress import ip_address

import dns.flags
import dns.message
import pytest

from mesh.dns import DnsSettings, PodNames
from mesh.dns.zone import Zone
from mesh.model.services import Endpoint, Service, ServicePort
from tests.mesh.dns.asking import HERE, PETS, PLANT, Desk, code, headless, key, shown, values, virtual

pytestmark = pytest.mark.fast
SVC = "default.svc.cluster.local"


@pytest.fixture
def desk():
    return Desk()


@pytest.mark.parametrize(
    ("name", "kind", "expected"),
    [
        (f"web.{SVC}", "A", ["127.96.0.1"]),
        (f"WEB.{SVC}", "A", ["127.96.0.1"]),
        ("web.shop.svc.cluster.local", "A", ["127.96.0.2"]),
        (f"v1.api.{SVC}", "A", ["127.96.0.3"]),
        (f"six.{SVC}", "AAAA", ["fd00:96::1"]),
        (f"10-1-0-1.web.{SVC}", "A", ["10.1.0.1"]),
        (f"_http._tcp.web.{SVC}", "SRV", [f"0 1 80 web.{SVC}."]),
        (f"_https._tcp.web.{SVC}", "SRV", [f"0 1 443 web.{SVC}."]),
        (f"_dns._udp.dns.{SVC}", "SRV", [f"0 1 53 dns.{SVC}."]),
        (f"pets.{SVC}", "A", ["10.9.0.1", "10.9.0.2", "10.9.0.3"]),
        (f"pets.{SVC}", "AAAA", ["fd00::5"]),
        (f"pet-0.pets.{SVC}", "A", ["10.9.0.1"]),
        (f"10-9-0-2.pets.{SVC}", "A", ["10.9.0.2"]),
        (f"fd00--5.pets.{SVC}", "AAAA", ["fd00::5"]),
        (
            f"_db._tcp.pets.{SVC}",
            "SRV",
            [
                f"0 1 5 pet-0.pets.{SVC}.",
                f"1 1 5 10-9-0-2.pets.{SVC}.",
                f"2 1 6 10-9-0-3.pets.{SVC}.",
                f"2 1 6 fd00--5.pets.{SVC}.",
            ],
        ),
        (f"hall-2.pin._zone.pets.{SVC}", "A", ["10.9.0.3"]),
        (f"hall-1.prefer._zone.pets.{SVC}", "A", ["10.9.0.1", "10.9.0.2"]),
        (f"hall-9.prefer._zone.pets.{SVC}", "A", ["10.9.0.1", "10.9.0.2", "10.9.0.3"]),
        (f"far.{SVC}", "CNAME", ["www.example.com."]),
        (f"broker.{SVC}", "A", ["192.168.7.7"]),
        (f"alias.{SVC}", "A", [f"pets.{SVC}.", "10.9.0.1", "10.9.0.2", "10.9.0.3"]),
        ("10-1-2-3.default.pod.cluster.local", "A", ["10.1.2.3"]),
        ("fd00--1.default.pod.cluster.local", "AAAA", ["fd00::1"]),
        ("1.0.96.127.in-addr.arpa", "PTR", [f"web.{SVC}."]),
        ("1.0.9.10.in-addr.arpa", "PTR", [f"pet-0.pets.{SVC}."]),
        ("1.0.1.10.in-addr.arpa", "PTR", [f"10-1-0-1.web.{SVC}."]),
        ("5." + "0." * 27 + "0.0.d.f.ip6.arpa", "PTR", [f"fd00--5.pets.{SVC}."]),
        ("dns-version.cluster.local", "TXT", ['"1.1.0"']),
        ("cluster.local", "NS", ["ns.dns.cluster.local."]),
        ("cluster.local", "SOA", ["ns.dns.cluster.local. hostmaster.cluster.local. 7 7200 1800 86400 5"]),
        ("96.127.in-addr.arpa", "SOA", ["ns.dns.cluster.local. hostmaster.cluster.local. 7 7200 1800 86400 5"]),
    ],
)
def test_a_name_leads_to(desk, name, kind, expected):
    answer = desk.ask(name, kind)
    assert (code(answer), values(answer)) == ("NOERROR", expected)
    assert answer.flags & dns.flags.AA


@pytest.mark.parametrize(
    ("name", "kind", "apex"),
    [
        (f"web.{SVC}", "AAAA", "cluster.local."),
        (f"web.{SVC}", "HTTPS", "cluster.local."),
        (f"six.{SVC}", "A", "cluster.local."),
        (f"_http._tcp.web.{SVC}", "A", "cluster.local."),
        (f"_tcp.web.{SVC}", "A", "cluster.local."),
        (f"hall-9.pin._zone.pets.{SVC}", "A", "cluster.local."),
        (f"pin._zone.pets.{SVC}", "A", "cluster.local."),
        (f"_zone.pets.{SVC}", "A", "cluster.local."),
        (f"hall-1.pin._zone.empty.{SVC}", "A", "cluster.local."),
        (f"alias.{SVC}", "TXT", "cluster.local."),
        (SVC, "A", "cluster.local."),
        ("svc.cluster.local", "A", "cluster.local."),
        ("pod.cluster.local", "A", "cluster.local."),
        ("default.pod.cluster.local", "A", "cluster.local."),
        ("10-1-2-3.default.pod.cluster.local", "AAAA", "cluster.local."),
        ("cluster.local", "A", "cluster.local."),
        ("dns.cluster.local", "A", "cluster.local."),
        ("0.96.127.in-addr.arpa", "PTR", "96.127.in-addr.arpa."),
        ("1.0.96.127.in-addr.arpa", "A", "96.127.in-addr.arpa."),
        ("1.0.9.10.in-addr.arpa", "TXT", "1.0.9.10.in-addr.arpa."),
    ],
)
def test_a_name_that_is_there_without_such_records_is_not_denied(desk, name, kind, apex):
    answer = desk.ask(name, kind)
    assert code(answer) == "NOERROR"
    assert [(str(one.name), one.ttl) for one in answer.authority] == [(apex, 5)]
    assert all(rrset.rdtype == 5 for rrset in answer.answer)


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        (f"nothing.{SVC}", "A"),
        ("web.nowhere.svc.cluster.local", "A"),
        ("nowhere.svc.cluster.local", "A"),
        (f"*.{SVC}", "A"),
        (f"10-1-0-2.web.{SVC}", "A"),
        (f"a.b.c.web.{SVC}", "A"),
        (f"_smtp._tcp.web.{SVC}", "SRV"),
        (f"_http._udp.web.{SVC}", "SRV"),
        (f"_._tcp.web.{SVC}", "SRV"),
        (f"_udp.web.{SVC}", "A"),
        (f"x.far.{SVC}", "A"),
        (f"hall-1.pin._zone.web.{SVC}", "A"),
        (f"empty.{SVC}", "A"),
        (f"ill.{SVC}", "A"),
        (f"10-9-1-1.ill.{SVC}", "A"),
        (f"ill.pets.{SVC}", "A"),
        ("x.cluster.local", "A"),
        ("not-an-address.default.pod.cluster.local", "A"),
        ("a.10-1-2-3.default.pod.cluster.local", "A"),
        ("www.example.com.default.svc.cluster.local", "A"),
        ("9.9.96.127.in-addr.arpa", "PTR"),
        ("9.96.127.in-addr.arpa", "PTR"),
        ("01.0.96.127.in-addr.arpa", "PTR"),
        ("x.dns.cluster.local", "A"),
    ],
)
def test_a_name_that_is_not_there_is_denied_for_five_seconds(desk, name, kind):
    answer = desk.ask(name, kind)
    assert code(answer) == "NXDOMAIN"
    assert [one.split()[:3] for one in shown(answer, "authority")] in (
        [["cluster.local.", "5", "SOA"]],
        [["96.127.in-addr.arpa.", "5", "SOA"]],
    )


def test_ports_of_endpoints_are_those_of_the_endpoints(desk):
    records = shown(desk.ask(f"_db._tcp.pets.{SVC}", "SRV", use_edns=0, payload=1232), "additional")
    assert f"pet-0.pets.{SVC}. 5 A 10.9.0.1" in records
    assert f"fd00--5.pets.{SVC}. 5 AAAA fd00::5" in records


def test_an_endpoint_known_by_name_only_is_the_target_itself():
    desk = Desk([headless("plc", Endpoint("plc.factory.example", 1883), port="mqtt")])
    assert values(desk.ask(f"_mqtt._tcp.plc.{SVC}", "SRV")) == ["2 1 1883 plc.factory.example."]


def test_services_that_point_at_each_other_are_a_failure_not_a_loop(desk):
    assert code(desk.ask(f"round.{SVC}")) == "SERVFAIL"


def test_a_service_that_publishes_what_is_not_ready_names_it():
    desk = Desk([headless("ill", Endpoint("10.9.1.1", 5, ready=False), publish_not_ready=True)])
    assert values(desk.ask(f"ill.{SVC}")) == ["10.9.1.1"]


def test_the_server_names_its_own_address():
    zone_settings = replace(HERE, listen=("169.254.20.10:53",))
    zone = Zone(zone_settings, [ip_address("169.254.20.10")])
    found = zone.find(b"\x02ns\x03dns\x07cluster\x05local\x00", 1)
    assert found.answer.answers[0].endswith(bytes((169, 254, 20, 10)))


def test_the_nearest_come_first_and_take_turns_among_themselves():
    near = [Endpoint(f"10.0.0.{n}", 1, node="here") for n in (1, 2)]
    zone = [Endpoint(f"10.0.1.{n}", 1, zone="hall-1") for n in (1, 2)]
    far = [Endpoint(f"10.0.2.{n}", 1, zone="hall-2") for n in (1, 2)]
    desk = Desk([headless("all", *far, *zone, *near)])
    query = _query(f"all.{SVC}")
    orders = [values(_parsed(desk.raw(query))) for _ in range(10)]
    assert {tuple(one[:6] for one in order) for order in orders} == {
        ("10.0.0", "10.0.0", "10.0.1", "10.0.1", "10.0.2", "10.0.2")
    }
    for place in (0, 2, 4):
        assert set(Counter(order[place] for order in orders).values()) == {5}


def test_weights_say_how_often_one_is_named_first():
    endpoints = [Endpoint(f"10.0.0.{n}", 1, weight=weight) for n, weight in ((1, 5), (2, 3), (3, 2), (4, 0))]
    desk = Desk([headless("all", *endpoints)])
    query = _query(f"all.{SVC}")
    firsts = Counter(values(_parsed(desk.raw(query)))[0] for _ in range(1000))
    assert firsts == {"10.0.0.1": 500, "10.0.0.2": 300, "10.0.0.3": 200}


def test_addresses_that_were_heard_of_too_long_ago_come_last_and_alone_live_longer():
    fresh, old = Endpoint("10.0.0.9", 1, zone="hall-2"), Endpoint("10.0.0.1", 1, node="here", stale=True)
    assert shown(Desk([headless("all", old, fresh)]).ask(f"all.{SVC}")) == [
        f"all.{SVC}. 5 A 10.0.0.9",
        f"all.{SVC}. 5 A 10.0.0.1",
    ]
    assert shown(Desk([headless("all", old)]).ask(f"all.{SVC}")) == [f"all.{SVC}. 30 A 10.0.0.1"]
    assert shown(Desk([virtual("all", "127.96.0.1", old)]).ask(f"all.{SVC}")) == [f"all.{SVC}. 30 A 127.96.0.1"]


@pytest.mark.parametrize(
    ("mode", "known", "other"),
    [
        (PodNames.ANY, "NOERROR", "NOERROR"),
        (PodNames.KNOWN, "NOERROR", "NXDOMAIN"),
        (PodNames.NONE,) + ("NXDOMAIN",) * 2,
    ],
)
def test_names_of_pods_by_setting(mode, known, other):
    desk = Desk(settings=replace(HERE, pod_names=mode))
    assert code(desk.ask("10-9-0-1.default.pod.cluster.local")) == known
    assert code(desk.ask("10-9-9-9.default.pod.cluster.local")) == other
    assert code(desk.ask("10-9-0-1.shop.pod.cluster.local")) == other


def test_reverse_names_that_are_not_ours_are_not_answered(desk):
    assert code(desk.ask("9.9.9.10.in-addr.arpa", "PTR")) == "REFUSED"
    assert code(desk.ask("10.in-addr.arpa", "PTR")) == "REFUSED"
    assert code(desk.ask("www.example.com")) == "REFUSED"
    assert code(desk.ask("local")) == "REFUSED"
    assert code(desk.ask("xcluster.local")) == "REFUSED"


def test_networks_that_end_within_an_octet_are_several_zones():
    desk = Desk(settings=DnsSettings(networks=("10.96.0.0/12", "fd00:96::/110"), forward=False))
    assert code(desk.ask("1.0.111.10.in-addr.arpa", "PTR")) == "NXDOMAIN"
    assert code(desk.ask("1.0.112.10.in-addr.arpa", "PTR")) == "REFUSED"
    assert code(desk.ask("2." + "0." * 23 + "6.9.0.0.0.0.d.f.ip6.arpa", "PTR")) == "NXDOMAIN"


def test_a_change_is_seen_by_the_next_question_and_leaves_other_answers_ready():
    desk = Desk()
    for name in ("web", "six", "v1.api"):
        desk.ask(f"{name}.{SVC}")
    ready = len(desk.answers.ready)
    desk.answers.apply([virtual("web", "127.96.7.7")], [key("six")], 8)
    assert len(desk.answers.ready) == ready - 2
    assert values(desk.ask(f"web.{SVC}")) == ["127.96.7.7"]
    assert code(desk.ask(f"six.{SVC}")) == "NXDOMAIN"
    assert code(desk.ask("1.0.96.127.in-addr.arpa", "PTR")) == "NXDOMAIN"
    assert values(desk.ask("7.7.96.127.in-addr.arpa", "PTR")) == [f"web.{SVC}."]


def test_what_was_denied_is_there_once_it_is_made_dots_in_its_name_or_not():
    desk = Desk([])
    for name in (f"late.{SVC}", f"v2.late.{SVC}", SVC, "5.5.96.127.in-addr.arpa"):
        assert code(desk.ask(name, "PTR" if "arpa" in name else "A")) == "NXDOMAIN"
    desk.answers.apply([virtual("late", "127.96.5.5")], (), 8)
    assert values(desk.ask(f"late.{SVC}")) == ["127.96.5.5"]
    assert values(desk.ask("5.5.96.127.in-addr.arpa", "PTR")) == [f"late.{SVC}."]
    assert code(desk.ask(SVC)) == "NOERROR"
    assert code(desk.ask(f"v2.late.{SVC}")) == "NXDOMAIN"
    desk.answers.apply([virtual("v2.late", "127.96.5.6")], (), 9)
    assert values(desk.ask(f"v2.late.{SVC}")) == ["127.96.5.6"]


def test_a_cname_follows_the_services_that_it_leads_to():
    desk = Desk()
    assert values(desk.ask(f"alias.{SVC}"))[1:] == ["10.9.0.1", "10.9.0.2", "10.9.0.3"]
    moved = replace(PETS, ports=(ServicePort(5, "db", endpoints=(Endpoint("10.9.0.8", 5),)),))
    desk.answers.apply([moved], (), 8)
    assert values(desk.ask(f"alias.{SVC}"))[1:] == ["10.9.0.8"]
    desk.answers.apply([], [PETS.key], 9)
    assert code(desk.ask(f"alias.{SVC}")) == "NXDOMAIN"


def test_services_that_were_asked_for_are_told_of_whether_they_are_there_or_not():
    desk = Desk()
    for name in (f"web.{SVC}", f"web.{SVC}", f"_http._tcp.web.{SVC}", f"later.{SVC}", "cluster.local"):
        desk.ask(name)
    assert set(desk.asked) == {key("web"), key("later")}
    desk.asked.clear()
    desk.answers.forget()
    desk.ask(f"web.{SVC}")
    assert desk.asked == [key("web")]


def test_the_memory_of_answers_is_bounded():
    desk = Desk([])
    for number in range(20_000):
        desk.raw(_query(f"n{number}.{SVC}"))
    assert len(desk.answers.ready) <= 8192
    assert len(desk.answers._kept) <= 8192
    assert sum(map(len, desk.answers._of_owner.values())) <= 8192


def test_names_that_cannot_be_are_left_out_and_harm_nothing():
    odd = [
        headless("odd", Endpoint("10.0.0.1", 1, hostname="not.one.label"), Endpoint("10.0.0.2", 1, hostname="x" * 64)),
        Service(key("bad"), external_name="a..b"),
        Service(key("wrong"), "not an address"),
        Service(key("x" * 70), "127.96.0.9", (ServicePort(1, "y" * 70),)),
    ]
    desk = Desk(odd)
    assert values(desk.ask(f"10-0-0-1.odd.{SVC}")) == ["10.0.0.1"]
    assert len(values(desk.ask(f"_db._tcp.odd.{SVC}", "SRV"))) == 2
    assert code(desk.ask(f"bad.{SVC}")) == "NXDOMAIN"
    assert code(desk.ask(f"wrong.{SVC}")) == "NOERROR"
    assert code(desk.ask("9.0.96.127.in-addr.arpa", "PTR")) == "NOERROR"


def test_a_domain_that_cannot_be_is_said():
    with pytest.raises(ValueError, match="cannot be a DNS domain"):
        Zone(replace(HERE, domain="a..b"))


def test_the_whole_plant_comes_and_goes_without_a_trace():
    zone = Zone(HERE)
    zone.apply(PLANT, (), 1)
    zone.apply((), [one.key for one in PLANT], 2)
    assert not zone.services
    assert not zone._namespaces
    assert not zone._at_address


def _query(name: str) -> bytes:
    return dns.message.make_query(name, "A").to_wire()


def _parsed(reply: bytes):
    return dns.message.from_wire(reply)
