"""What others said: how long it holds, how long it may still be used, and what may take its place."""

import dns.message
import dns.rcode
import dns.rrset
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mesh.dns.cache import Cache, Heard, read_response
from mesh.dns.forward import question_for
from mesh.dns.places import Place, nameservers, place_of
from tests.mesh.dns.asking import shown
from tests.mesh.dns.upstream import failing, saying

pytestmark = pytest.mark.fast
QUERY = question_for(b"\x01a\x00", 1, None)
SOA = "ns.example. admin.example. 1 2 3 4 {}"


def asked():
    return dns.message.make_query("a", "A", id=1)


def heard(ttl=60, value="192.0.2.1") -> Heard:
    found = read_response(saying(value, ttl=ttl)(asked()), QUERY.key)
    assert found is not None
    return found


def failure() -> Heard:
    found = read_response(failing(dns.rcode.SERVFAIL)(asked()), QUERY.key)
    assert found is not None
    return found


def negative(ttl, minimum, rcode=dns.rcode.NXDOMAIN, soa=True) -> Heard | None:
    response = dns.message.make_response(asked())
    response.set_rcode(rcode)
    if soa:
        response.authority.append(dns.rrset.from_text("example.", ttl, "IN", "SOA", SOA.format(minimum)))
    return read_response(response.to_wire(), QUERY.key)


@pytest.mark.parametrize(("ttl", "kept_s"), [(0, 5), (1, 5), (60, 60), (3600, 3600), (90_000, 3600), (2**31, 5)])
def test_an_answer_is_kept_as_long_as_it_says_within_bounds(ttl, kept_s):
    assert heard(60).ttl_s == 60
    wire = bytearray(saying("192.0.2.1", ttl=60)(asked()))
    wire[-10:-6] = ttl.to_bytes(4, "big")
    found = read_response(bytes(wire), QUERY.key)
    assert found is not None
    assert found.ttl_s == kept_s


@pytest.mark.parametrize(
    ("ttl", "minimum", "kept_s"), [(300, 60, 60), (60, 300, 60), (9000, 9000, 1800), (0, 0, 5), (1, 900, 5)]
)
def test_a_denial_is_kept_as_long_as_its_soa_says(ttl, minimum, kept_s):
    assert negative(ttl, minimum).ttl_s == kept_s
    assert negative(ttl, minimum, dns.rcode.NOERROR).ttl_s == kept_s


def test_a_denial_without_a_soa_is_kept_for_a_moment():
    assert negative(0, 0, soa=False).ttl_s == 5


def test_times_to_live_are_counted_down_and_never_below_nothing():
    reply = dns.message.from_wire(heard(60).reply(QUERY, 512, 45))
    assert shown(reply) == ["a. 15 A 192.0.2.1"]
    assert shown(dns.message.from_wire(heard(60).reply(QUERY, 512, 99))) == ["a. 0 A 192.0.2.1"]
    assert shown(dns.message.from_wire(heard(60).reply(QUERY, 512, 99, stale=True))) == ["a. 30 A 192.0.2.1"]


def test_an_answer_holds_for_its_time_then_may_be_used_for_a_day():
    cache = Cache(10)
    cache.put(b"a", heard(60), 1000)
    assert cache.fresh(b"a", 1059.9) == (heard(60), 59)
    assert cache.stale(b"a", 1059.9) is None
    assert cache.fresh(b"a", 1060) is None
    assert cache.stale(b"a", 1060) == heard(60)
    assert cache.stale(b"a", 1060 + 86_399) == heard(60)
    assert cache.stale(b"a", 1060 + 86_400) is None
    assert cache.fresh(b"b", 1000) is None
    assert cache.stale(b"b", 1000) is None


def test_a_failure_never_replaces_an_answer_and_makes_us_wait_before_we_ask_again():
    cache = Cache(10)
    cache.put(b"a", heard(60), 0)
    cache.put(b"a", failure(), 70)
    assert cache.stale(b"a", 70) == heard(60)
    assert not cache.may_ask(b"a", 99)
    assert cache.may_ask(b"a", 100)
    cache.put(b"a", heard(60, "192.0.2.2"), 100)
    assert cache.may_ask(b"a", 101)
    assert cache.fresh(b"a", 101) == (heard(60, "192.0.2.2"), 1)


def test_a_failure_of_a_name_that_was_never_known_is_believed_for_five_seconds():
    cache = Cache(10)
    cache.put(b"a", failure(), 0)
    assert cache.fresh(b"a", 4.9) is not None
    assert cache.fresh(b"a", 5) is None
    assert cache.stale(b"a", 6) is None


def test_a_denial_may_take_the_place_of_an_answer():
    cache = Cache(10)
    cache.put(b"a", heard(60), 0)
    cache.put(b"a", negative(60, 60), 61)
    assert cache.fresh(b"a", 62)[0].rcode == dns.rcode.NXDOMAIN


def test_the_name_that_was_asked_for_longest_ago_goes_first():
    cache = Cache(3)
    for name in (b"a", b"b", b"c"):
        cache.put(name, heard(), 0)
    cache.fresh(b"a", 1)
    cache.put(b"d", heard(), 2)
    assert [name for name in (b"a", b"b", b"c", b"d") if cache.fresh(name, 3)] == [b"a", b"c", b"d"]
    assert len(cache) == 3


def test_a_response_to_something_else_is_none():
    wire = saying("192.0.2.1")(asked())
    assert read_response(wire, question_for(b"\x01b\x00", 1, None).key) is None
    assert read_response(wire, question_for(b"\x01a\x00", 28, None).key) is None
    assert read_response(asked().to_wire(), QUERY.key) is None
    assert read_response(wire[:-1], QUERY.key) is None


@given(st.binary(max_size=120))
def test_any_bytes_are_a_response_or_not(given_bytes):
    read_response(given_bytes, QUERY.key)
    read_response(saying("192.0.2.1")(asked())[:19] + given_bytes, QUERY.key)


@pytest.mark.parametrize(
    ("text", "place"),
    [
        ("127.0.0.1", Place("127.0.0.1", 53)),
        ("127.0.0.1:5353", Place("127.0.0.1", 5353)),
        ("::1", Place("::1", 53)),
        ("[::1]:5353", Place("::1", 5353)),
        ("[::1]", Place("::1", 53)),
        ("fe80::1%eth0", Place("fe80::1%eth0", 53)),
        ("localhost", None),
        ("127.0.0.1:", Place("127.0.0.1", 53)),
        ("127.0.0.1:x", None),
        ("127.0.0.1:70000", None),
        ("[::1", None),
        ("", None),
    ],
)
def test_places_are_read_as_people_write_them(text, place):
    assert place_of(text) == place
    if place is not None:
        assert place_of(str(place)) == place


def test_resolv_conf_is_read_as_resolvers_read_it():
    text = (
        "; old\n# note\nsearch example.com\nnameserver 10.0.0.1\nnameserver\tfe80::1%eth0  # router\nnameserver junk\n\
nameserver 10.0.0.1\noptions ndots:5\nnameserver"
    )
    assert nameservers(text) == [Place("10.0.0.1"), Place("fe80::1%eth0")]
