"""The rules as text: what each trait of a frontend comes to, and what is said to get from one to the next."""

from ipaddress import ip_address, ip_network

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mesh.model.policies import Balance, KeyKind, KeyOf, LoadBalancer, RateLimit, TokenBucket
from mesh.model.programme import BoundRule, Frontend
from mesh.model.routes import Backend, Rule
from mesh.model.services import Endpoint, PortKey, ServiceKey, Transport
from mesh.planes.nft.doors import Doors, Spot, counted_by, key_bytes
from mesh.planes.nft.hand import difference
from mesh.planes.nft.kernel import Client, Standing
from mesh.planes.nft.names import port_name
from mesh.planes.nft.rules import Piece, links_of, piece_of, rate_of, slots_of
from mesh.planes.nft.ruleset import MOST_STAYING, chains_of, change, frame, whole
from mesh.planes.nft.shares import Cut, Front, Member, Pool, cuts_of, front_of, split, unable

pytestmark = pytest.mark.fast

WEB = PortKey(ServiceKey("plant", "web"), 80)
DNS = PortKey(ServiceKey("plant", "dns"), 53, Transport.UDP)
A, B, C = Member("10.0.0.1", 8080), Member("10.0.0.2", 8080), Member("10.0.0.3", 8080)
RANDOM = LoadBalancer(Balance.RANDOM)
HASH = LoadBalancer(Balance.CONSISTENT_HASH, KeyOf(KeyKind.SOURCE))


def pool(*members, key=WEB, **more) -> Pool:
    return Pool(key, members=members, **more)


def front(*pools, key=WEB, addresses=("10.96.0.1",), **more) -> Front:
    return Front(key, addresses, pools=pools, **more)


def chains(one: Front) -> dict[str, tuple[str, ...]]:
    return {chain.name: chain.rules for chain in piece_of(one).chains}


MAPPED = "meta l4proto tcp dnat ip to numgen"
THREE = "0 : 10.0.0.1 . 8080, 1 : 10.0.0.2 . 8080, 2 : 10.0.0.3 . 8080"


@pytest.mark.parametrize(
    ("one", "rule"),
    [
        (front(pool()), "reject with tcp reset"),
        (front(pool(key=DNS), key=DNS), "reject"),
        (front(pool(A)), "meta l4proto tcp dnat ip to 10.0.0.1:8080"),
        (front(pool(A, key=DNS), key=DNS), "meta l4proto udp dnat ip to 10.0.0.1:8080"),
        (front(pool(A, B, C)), f"{MAPPED} inc mod 3 map {{ {THREE} }}"),
        (front(pool(A, Member("10.0.0.2", 8080, 0))), "meta l4proto tcp dnat ip to 10.0.0.1:8080"),
        (
            front(pool(A, Member("10.0.0.2", 8080, 3.0), balancer=RANDOM)),
            f"{MAPPED} random mod 4 map {{ 0 : 10.0.0.1 . 8080, 1-3 : 10.0.0.2 . 8080 }}",
        ),
        (
            front(pool(A, Member("10.0.0.2", 8080, 200), balancer=LoadBalancer())),
            f"{MAPPED} inc mod 201 map {{ 0 : 10.0.0.1 . 8080, 1-200 : 10.0.0.2 . 8080 }}",
        ),
    ],
)
def test_a_choice_among_endpoints_is_one_rule(one, rule):
    (rules,) = chains(one).values()
    assert rules[0] == rule
    # A map is never the last word of a chain.
    assert rules[1:] == (("meta l4proto tcp dnat ip to 10.0.0.1:8080",) if " map " in rule else ())


def test_both_versions_of_ip_have_a_chain_each_and_nothing_of_the_other():
    six = Member("fd00::1", 8080)
    made = chains(front(pool(A, six), addresses=("10.96.0.1", "fd00:96::1")))
    assert made == {
        "to/plant/web/80/tcp": ("meta l4proto tcp dnat ip to 10.0.0.1:8080",),
        "to/plant/web/80/tcp6": ("meta l4proto tcp dnat ip6 to [fd00::1]:8080",),
    }


def test_a_hash_of_the_client_is_a_map_of_slots():
    (rules,) = chains(front(pool(A, B, balancer=HASH))).values()
    assert rules[0].startswith("meta l4proto tcp dnat ip to jhash ip saddr mod 1021 seed 0x6d657368 map { 0")


def test_backends_by_weight_have_a_chain_each():
    other = PortKey(ServiceKey("plant", "other"), 80)
    made = chains(front(pool(A, weight=4), Pool(other, 2, (B,))))
    assert made["to/plant/web/80/tcp"] == (
        "numgen random mod 3 vmap { 0-1 : goto to/plant/web/80/tcp/0, 2 : goto to/plant/web/80/tcp/1 }",
        "goto to/plant/web/80/tcp/0",
    )
    assert made["to/plant/web/80/tcp/1"] == ("meta l4proto tcp dnat ip to 10.0.0.2:8080",)


def test_what_is_counted_stands_in_a_chain_that_endpoints_do_not_change():
    limit = RateLimit(TokenBucket(20, 50, 1000))
    before = front(pool(A, max_connections=100, rate_limit=limit), rate_limit=limit)
    made = chains(before)
    assert made["to/plant/web/80/tcp"] == (
        "limit rate over 50/second burst 20 packets reject with tcp reset",
        "limit rate over 50/second burst 20 packets reject with tcp reset",
        "meta l4proto tcp ct count over 100 reject with tcp reset",
        "goto to/plant/web/80/tcp/in",
    )
    after = front(pool(B, max_connections=100, rate_limit=limit), rate_limit=limit)
    said = change([(piece_of(before), piece_of(after))])
    assert "flush chain inet edgetwin_mesh to/plant/web/80/tcp/in\n" in said
    assert "flush chain inet edgetwin_mesh to/plant/web/80/tcp\n" not in said


def test_a_limit_for_each_client_remembers_as_many_as_it_may_for_as_long_as_it_matters():
    limit = RateLimit(TokenBucket(20, 5, 1000), KeyOf(KeyKind.SOURCE), max_keys=77)
    piece = piece_of(front(pool(A), rate_limit=limit))
    (clients,) = piece.sets
    assert clients.spec == "type ipv4_addr; flags dynamic,timeout; timeout 5s; size 77;"
    (rule, _) = piece.chains[0].rules
    rate = "limit rate over 5/second burst 20 packets"
    assert rule == f"update @rate/plant/web/80/tcp/route {{ ip saddr {rate} }} reject with tcp reset"


def test_clients_that_stay_are_said_again_with_the_time_that_is_left():
    piece = piece_of(front(pool(A, B), affinity_s=30))
    name = piece.sets[0].name
    clients = [
        Client(name, "10.1.0.1", 12_001),
        Client(name, "10.1.0.2", 90_000),  # the time was longer before
        Client(name, "10.1.0.3", 0),
        Client("clients/of/another", "10.1.0.4", 5_000),
    ]
    said = whole([piece], clients).removeprefix(whole([piece]))
    keys = "10.1.0.1 expires 13s, 10.1.0.2 expires 30s, 10.1.0.3 expires 1s"
    assert said == f"add element inet edgetwin_mesh {name} {{ {keys} }}\n"


def test_of_very_many_clients_those_that_were_here_last_stay():
    piece = piece_of(front(pool(A), affinity_s=30))
    name = piece.sets[0].name
    clients = [Client(name, str(ip_address(number)), number) for number in range(1, MOST_STAYING + 3)]
    said = whole([piece], clients)
    assert said.count(" expires ") == MOST_STAYING
    assert (f"{ip_address(2)} expires" in said, f"{ip_address(3)} expires" in said) == (False, True)


def test_affinity_is_a_set_of_clients_for_each_endpoint():
    piece = piece_of(front(pool(A, B), affinity_s=30))
    assert [one.name for one in piece.sets] == [
        "clients/plant/web/80/tcp/0/10.0.0.1/8080",
        "clients/plant/web/80/tcp/0/10.0.0.2/8080",
    ]
    made = chains(front(pool(A, B), affinity_s=30))
    assert made["to/plant/web/80/tcp"][0] == (
        "ip saddr @clients/plant/web/80/tcp/0/10.0.0.1/8080 goto at/plant/web/80/tcp/0/10.0.0.1/8080"
    )
    assert made["at/plant/web/80/tcp/0/10.0.0.1/8080"] == (
        "update @clients/plant/web/80/tcp/0/10.0.0.1/8080 { ip saddr }",
        "meta l4proto tcp dnat ip to 10.0.0.1:8080",
    )


@pytest.mark.parametrize(
    ("bucket", "text"),
    [
        (TokenBucket(20, 50, 1000), "limit rate over 50/second burst 20 packets"),
        (TokenBucket(20, 1, 100), "limit rate over 10/second burst 20 packets"),
        (TokenBucket(20, 1, 1500), "limit rate over 40/minute burst 20 packets"),
        (TokenBucket(20, 1, 60_000), "limit rate over 1/minute burst 20 packets"),
        (TokenBucket(20, 1, 3_600_000), "limit rate over 1/hour burst 20 packets"),
        (TokenBucket(20, 1, 7000), "limit rate over 86400/week burst 20 packets"),
    ],
)
def test_a_token_bucket_is_said_in_the_smallest_unit_that_is_exact(bucket, text):
    assert rate_of(RateLimit(bucket)) == text


def test_endpoints_that_are_near_are_counted_apart():
    near = Member("10.0.0.1", 8080, near=True)
    piece = piece_of(front(pool(near, B), node_port=30080))
    assert {one.set: one.key for one in piece.elements if "opened" in one.set} == {
        "opened-near4": "10.96.0.1 . tcp . 80 . 10.0.0.1 . 8080",
        "opened4": "10.96.0.1 . tcp . 80 . 10.0.0.2 . 8080",
        "port-opened-near4": "tcp . 30080 . 10.0.0.1 . 8080",
        "port-opened4": "tcp . 30080 . 10.0.0.2 . 8080",
    }


def test_of_links_that_overlap_the_widest_counts():
    links = map(ip_network, ("10.88.0.0/16", "10.0.0.0/8", "192.168.1.0/24", "fd00::/64"))
    assert {(one.set, one.key) for one in links_of(links).elements} == {
        ("links4", "10.0.0.0/8 . 10.0.0.0/8"),
        ("links4", "192.168.1.0/24 . 192.168.1.0/24"),
        ("links6", "fd00::/64 . fd00::/64"),
    }
    assert key_bytes("10.0.0.0/8 . 10.0.0.0/8") == b"\x0a\0\0\0" * 2


def test_weights_of_any_size_are_ranges():
    other = PortKey(ServiceKey("plant", "other"), 80)
    made = chains(front(pool(A, weight=999_999), Pool(other, 1, (B,))))
    assert "{ 0-999998 : goto to/plant/web/80/tcp/0, 999999 : goto" in made["to/plant/web/80/tcp"][0]


def test_doors_and_counters_are_elements():
    piece = piece_of(front(pool(A), node_port=30080))
    assert {(one.set, one.key, one.verdict) for one in piece.elements} == {
        ("services4", "10.96.0.1 . tcp . 80", "goto to/plant/web/80/tcp"),
        ("ports4", "tcp . 30080", "goto to/plant/web/80/tcp"),
        ("doors4", "10.96.0.1 . tcp . 80", ""),
        ("port-doors4", "tcp . 30080", ""),
        ("opened4", "10.96.0.1 . tcp . 80 . 10.0.0.1 . 8080", ""),
        ("port-opened4", "tcp . 30080 . 10.0.0.1 . 8080", ""),
    }


# -- from one to the next ----------------------------------------------------------------------------------------------


def test_a_change_of_endpoints_is_a_few_lines():
    said = change([(piece_of(front(pool(A))), piece_of(front(pool(B))))])
    assert said.splitlines() == [
        "flush chain inet edgetwin_mesh to/plant/web/80/tcp",
        "delete element inet edgetwin_mesh opened4 { 10.96.0.1 . tcp . 80 . 10.0.0.1 . 8080 }",
        "add rule inet edgetwin_mesh to/plant/web/80/tcp meta l4proto tcp dnat ip to 10.0.0.2:8080",
        "add element inet edgetwin_mesh opened4 { 10.96.0.1 . tcp . 80 . 10.0.0.2 . 8080 }",
    ]


def test_no_change_says_nothing():
    assert change([(piece_of(front(pool(A))), piece_of(front(pool(A))))]) == ""


def test_a_frontend_that_goes_leaves_nothing():
    said = change([(piece_of(front(pool(A, B), affinity_s=30)), Piece())])
    assert "add " not in said
    for name in ("to/plant/web/80/tcp", "at/plant/web/80/tcp/0/10.0.0.1/8080"):
        assert f"flush chain inet edgetwin_mesh {name}\n" in said
        assert f"delete chain inet edgetwin_mesh {name}\n" in said
    assert "delete set inet edgetwin_mesh clients/plant/web/80/tcp/0/10.0.0.1/8080\n" in said


def test_a_set_that_becomes_another_one_takes_its_rules_along():
    before, after = (piece_of(front(pool(A, B), affinity_s=seconds)) for seconds in (30, 60))
    said = change([(before, after)]).splitlines()
    cleared = said.index("flush chain inet edgetwin_mesh to/plant/web/80/tcp")
    gone = said.index("delete set inet edgetwin_mesh clients/plant/web/80/tcp/0/10.0.0.1/8080")
    back = next(at for at, line in enumerate(said) if line.startswith("add set"))
    used = next(at for at, line in enumerate(said) if line.startswith("add rule"))
    assert cleared < gone < back < used


def test_an_address_passes_from_one_frontend_to_another_in_one_step():
    other = PortKey(ServiceKey("plant", "other"), 80)
    old, new = piece_of(front(pool(A))), piece_of(front(pool(B), key=other))
    said = change([(Piece(), new), (old, Piece())]).splitlines()
    taken = said.index(
        "delete element inet edgetwin_mesh services4 { 10.96.0.1 . tcp . 80 }".replace(
            " }", " : goto to/plant/web/80/tcp }"
        )
    )
    given = said.index("add element inet edgetwin_mesh services4 { 10.96.0.1 . tcp . 80 : goto to/plant/other/80/tcp }")
    assert taken < given


def test_the_whole_table_replaces_only_ours():
    said = whole([piece_of(front(pool(A)))])
    assert said.startswith(
        "add table inet edgetwin_mesh\ndelete table inet edgetwin_mesh\nadd table inet edgetwin_mesh\n"
    )
    assert all(" inet edgetwin_mesh" in line for line in said.splitlines())
    assert "flush ruleset" not in said


def test_names_cannot_say_anything_else():
    evil = PortKey(ServiceKey("plant", "web; flush ruleset"), 80)
    name = port_name(evil, 4)
    assert set(' ;{}\n"').isdisjoint(name)
    assert name != port_name(PortKey(ServiceKey("plant", "web__flush_ruleset"), 80), 4)
    long = [port_name(PortKey(ServiceKey("n" * 63, "x" * 250 + last), 80), 4) for last in "ab"]
    assert long[0] != long[1]
    assert max(map(len, long)) < 200


# -- what the kernel holds ---------------------------------------------------------------------------------------------


def standing_of(pieces, **changes) -> Standing:
    kinds = (
        "services",
        "ports",
        "doors",
        "port-doors",
        "opened",
        "opened-near",
        "port-opened",
        "port-opened-near",
        "links",
    )
    elements = {f"{kind}{version}": {} for kind in kinds for version in (4, 6)}
    for piece in pieces:
        for one in piece.elements:
            elements[one.set][key_bytes(one.key)] = one.verdict.removeprefix("goto ")
    return Standing({**chains_of(pieces), **changes}, elements)


def test_what_is_as_it_should_be_is_not_complained_about():
    pieces = [piece_of(front(pool(A, B), node_port=30080)), piece_of(front(pool(A, key=DNS), key=DNS))]
    assert difference(standing_of(pieces), pieces) == ""


@pytest.mark.parametrize(
    ("standing", "said"),
    [
        (Standing(), "the table is gone"),
        (standing_of([], stranger=2), "the chain stranger has 2 rules instead of no place here"),
        (standing_of([], services=0), "the chain services has 0 rules instead of 5 rules"),
        (Standing(chains_of([]), {}), "services4 does not hold what it should"),
    ],
)
def test_what_somebody_changed_is_named(standing, said):
    assert difference(standing, []) == said


# -- shares ------------------------------------------------------------------------------------------------------------


@given(st.lists(st.floats(0.01, 1000), min_size=1, max_size=30), st.integers(60, 5000))
def test_shares_add_up_and_are_never_off_by_more_than_what_each_is_owed(weights, slots):
    shares = split(weights, slots)
    assert sum(shares) == slots
    assert all(share >= 1 for share in shares)
    small = sum(1 for weight in weights if weight * slots / sum(weights) < 1)
    for share, weight in zip(shares, weights, strict=True):
        assert abs(share - weight * slots / sum(weights)) <= 1 + small


def test_what_weighs_nothing_has_no_share():
    assert split([0, 0], 10) == [0, 0]
    assert split([1, 0], 10) == [10, 0]


@given(st.integers(2, 6), st.integers(0, 5))
def test_an_endpoint_that_goes_moves_its_own_slots_only(count, gone):
    members = [Member(f"10.0.0.{number}", 80) for number in range(1, count + 1)]
    left = [one for at, one in enumerate(members) if at != gone % count]
    for before, after in zip(slots_of(members, 97), slots_of(left, 97), strict=True):
        if members[before] in left:
            assert left[after] == members[before]


def test_slots_go_by_weight():
    owners = slots_of([Member("10.0.0.1", 80, 3), Member("10.0.0.2", 80, 1)])
    assert owners.count(0) == pytest.approx(len(owners) * 0.75, rel=0.08)


def test_slots_of_addresses_that_are_long_and_alike_differ():
    owners = slots_of([Member(f"fd00:aaaa:bbbb:cccc:dddd:eeee:ffff:{last}", 65000 + last) for last in (1, 2)])
    assert min(owners.count(0), owners.count(1)) > len(owners) * 0.4


def test_a_frontend_is_its_first_rule_over_the_pools_that_are_known():
    other = PortKey(ServiceKey("plant", "other"), 80)
    rule = BoundRule(Rule(backends=(Backend(WEB, 2), Backend(other, 1), Backend(DNS, 0))))
    made = front_of(Frontend(WEB, ("10.96.0.1",), (rule,), affinity_s=9), {WEB: pool(A)})
    assert made == front(pool(A, weight=2), Pool(other), affinity_s=9)
    assert chains(front_of(Frontend(WEB, ("10.96.0.1",), ()), {})) == {
        "to/plant/web/80/tcp": ("reject with tcp reset",)
    }


@pytest.mark.parametrize(
    ("one", "says"),
    [
        (front(pool(A)), ""),
        (front(pool(Member("broker.example", 1))), "broker.example is no address"),
        (front(pool(Member("127.0.0.1", 1))), "only this machine itself reaches 127.0.0.1"),
        (front(pool(A), addresses=("127.96.0.1",)), "only this machine itself reaches 127.96.0.1"),
        (front(pool(Member("fd00::1", 1))), "does not translate between IPv4 and IPv6 (fd00::1)"),
        (front(pool(A), addresses=("fd00:96::1",)), "does not translate between IPv4 and IPv6 (10.0.0.1)"),
        (front(pool(A, balancer=LoadBalancer(Balance.LEAST_REQUEST))), "LEAST_REQUEST"),
    ],
)
def test_what_the_kernel_cannot_do_is_said(one, says):
    said = unable(one)
    assert says in said
    assert bool(said) is bool(says)


# -- who is cut --------------------------------------------------------------------------------------------------------

OUT, LEAVING = Member("10.0.0.1", 8080, 0), Member("10.0.0.1", 8080, 0, leaving=True)


@pytest.mark.parametrize(
    ("key", "after", "cut"),
    [
        (WEB, pool(A, B), False),
        (WEB, pool(B), True),
        (WEB, pool(OUT, B), False),
        (WEB, pool(LEAVING, B), False),
        (WEB, None, False),
        (DNS, pool(B), True),
        (DNS, pool(OUT, B), True),
        (DNS, pool(LEAVING, B), False),
        (DNS, None, True),
    ],
)
def test_connections_of_what_is_gone_are_cut(key, after, cut):
    cuts = set(cuts_of(front(pool(A), key=key), front(after, key=key) if after else None))
    assert cuts == ({Cut(key.transport, Member("10.0.0.1", 8080))} if cut else set())


# -- whose connections they are ----------------------------------------------------------------------------------------


def test_keys_are_as_the_kernel_has_them():
    assert key_bytes("10.96.0.1 . tcp . 80") == b"\x0a\x60\x00\x01\x06\x00\x00\x00\x00\x50\x00\x00"
    assert key_bytes("fd00::1 . udp . 53") == ip_address("fd00::1").packed + b"\x11\x00\x00\x00\x00\x35\x00\x00"


def test_counters_belong_to_the_endpoint_of_the_port_behind():
    other = PortKey(ServiceKey("plant", "other"), 80)
    owners = counted_by(front(pool(A), Pool(other, 1, (A, B)), node_port=30080))
    assert owners["opened4", key_bytes("10.96.0.1 . tcp . 80 . 10.0.0.1 . 8080")] == Spot(WEB, "10.0.0.1:8080", WEB)
    assert owners["port-opened4", key_bytes("tcp . 30080 . 10.0.0.2 . 8080")] == Spot(other, "10.0.0.2:8080", WEB)
    assert len(owners) == 4


def test_doors_know_their_own_clients_alone():
    doors = Doors([front(pool(A), node_port=30080, addresses=("10.96.0.1", "fd00:0096::1"))])
    spots = {"10.0.0.1:8080": Spot(WEB, "10.0.0.1:8080", WEB)}
    assert doors.spots(Transport.TCP, "10.96.0.1", 80) == spots
    assert doors.spots(Transport.TCP, "fd00:96::1", 80) == spots
    assert doors.spots(Transport.TCP, "192.168.1.7", 30080) == spots
    assert doors.spots(Transport.UDP, "10.96.0.1", 80) is None
    assert doors.spots(Transport.TCP, "10.96.0.1", 81) is None


def test_base_chains_look_at_what_opens_a_connection_only():
    assert "add rule inet edgetwin_mesh services tcp flags & (fin | syn | rst | ack) != syn return\n" in frame()


def test_endpoints_have_the_place_that_members_have():
    for address in ("10.0.0.1", "fd00::1"):
        assert Endpoint(address, 80).place == Member(address, 80).place
