"""Messages: what is read, what is refused, and that nothing can make the server stumble."""

import json
from pathlib import Path

import dns.edns
import dns.exception
import dns.flags
import dns.message
import dns.name
import dns.opcode
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mesh.dns import names
from mesh.dns.message import HEADER, Query, Unreadable, read
from mesh.model.services import Endpoint
from tests.mesh.dns.asking import Desk, code, headless, shown, values

pytestmark = pytest.mark.fast
GOLDEN = Path(__file__).parents[2] / "golden" / "dns" / "v1.json"
WEB = "web.default.svc.cluster.local"
DESK = Desk()


def message(flags=0x0100, counts=(1, 0, 0, 0), rest=b"\x01a\x00\x00\x01\x00\x01"):
    return HEADER.pack(b"\xab\xcd", flags, *counts) + rest


OPT = b"\x00\x00\x29\x04\xd0\x00\x00\x00\x00\x00\x00"
QUESTION = b"\x01a\x00\x00\x01\x00\x01"


@pytest.mark.parametrize(
    ("given_bytes", "rcode"),
    [
        (message(rest=b""), 1),
        (message(rest=b"\x01a"), 1),
        (message(rest=b"\x01a\x00\x00\x01\x00"), 1),
        (message(rest=b"\x40a\x00\x00\x01\x00\x01"), 1),
        (message(rest=b"\xc0\x0c\x00\x01\x00\x01"), 1),
        (message(rest=(b"\x3f" + b"a" * 63) * 4 + b"\x00\x00\x01\x00\x01"), 1),
        (message(counts=(0, 0, 0, 0)), 1),
        (message(counts=(2, 0, 0, 0)), 1),
        (message(counts=(1, 1, 0, 0)), 1),
        (message(counts=(1, 0, 1, 0)), 1),
        (message(counts=(1, 0, 0, 1)), 1),
        (message(rest=QUESTION + b"x"), 1),
        (message(counts=(1, 0, 0, 2), rest=QUESTION + OPT + OPT), 1),
        (message(counts=(1, 0, 0, 1), rest=QUESTION + b"\x01x" + OPT), 1),
        (message(counts=(1, 0, 0, 1), rest=QUESTION + OPT + b"x"), 1),
        (message(counts=(1, 0, 0, 1), rest=QUESTION + OPT[:-1] + b"\x09"), 1),
        (message(flags=0x0800), 4),
        (message(flags=0x2000), 4),
        (message(flags=0x2800), 4),
    ],
)
def test_what_cannot_be_read_is_said_to_be_so_with_its_id(given_bytes, rcode):
    reply = DESK.raw(given_bytes)
    assert reply[:2] == b"\xab\xcd"
    assert len(reply) == 12
    assert reply[2] & 0x80
    assert reply[3] & 15 == rcode


@pytest.mark.parametrize("given_bytes", [b"", b"\0", message()[:11], message(flags=0x8180), message(flags=0x8000)])
def test_what_is_no_query_gets_no_answer(given_bytes):
    assert DESK.raw(given_bytes) is None


@pytest.mark.parametrize("kind", ["AXFR", "IXFR"])
def test_zone_transfers_are_refused(kind):
    assert code(DESK.ask("cluster.local", kind)) == "REFUSED"
    assert code(DESK.ask("cluster.local", kind, tcp=True)) == "REFUSED"


@pytest.mark.parametrize("kind", ["MAILA", "MAILB", "TSIG", "TKEY", "TYPE200"])
def test_types_that_are_no_records_are_refused(kind):
    assert code(DESK.ask(WEB, kind)) == "REFUSED"


def test_other_classes_are_refused():
    assert code(DESK.ask("version.bind", "TXT", rdclass="CH")) == "REFUSED"


def test_any_gets_one_small_record_instead_of_all():
    assert shown(DESK.ask(WEB, "ANY")) == [f'{WEB}. 3600 HINFO "RFC8482" ""']


def test_the_case_of_the_question_is_echoed():
    mixed = "wEb.DEFault.svC.cLUSTER.local"
    answer = DESK.ask(mixed)
    assert str(answer.question[0].name) == f"{mixed}."
    assert str(answer.answer[0].name) == f"{mixed}."
    assert values(answer) == ["127.96.0.1"]


def test_edns_is_answered_with_edns_and_no_edns_without():
    with_edns = DESK.ask(WEB, use_edns=0, payload=4096, want_dnssec=True)
    assert (with_edns.edns, with_edns.payload) == (0, 1232)
    assert with_edns.ednsflags & dns.flags.DO
    assert DESK.ask(WEB, use_edns=False).edns == -1


def test_a_newer_edns_is_told_which_version_we_have():
    answer = DESK.ask(WEB, use_edns=1)
    assert (code(answer), answer.edns, answer.answer) == ("BADVERS", 0, [])


def test_cookies_and_other_options_are_passed_over_and_not_remembered():
    options = [dns.edns.GenericOption(10, b"12345678"), dns.edns.ECSOption("10.0.0.0", 8)]
    ready = len(DESK.answers.ready)
    answer = DESK.ask(WEB, use_edns=0, options=options)
    assert values(answer) == ["127.96.0.1"]
    assert answer.options == ()
    assert len(DESK.answers.ready) == ready


def test_recursion_is_offered_only_where_there_is_some():
    answer = DESK.ask(WEB)
    assert answer.flags & dns.flags.RD
    assert not answer.flags & dns.flags.RA


@pytest.mark.parametrize(
    ("count", "more", "tcp", "truncated"),
    [
        (20, {}, False, False),
        (40, {}, False, True),
        (60, {"use_edns": 0, "payload": 1232}, False, False),
        (90, {"use_edns": 0, "payload": 1232}, False, True),
        (90, {"use_edns": 0, "payload": 65_000}, False, True),
        (40, {"use_edns": 0, "payload": 100}, False, True),
        (2000, {}, True, False),
    ],
)
def test_an_answer_that_does_not_fit_is_left_out_and_said_to_be(count, more, tcp, truncated):
    desk = Desk([headless("all", *(Endpoint(f"10.1.{n // 250}.{n % 250}", 1) for n in range(count)))])
    question = dns.message.make_query("all.default.svc.cluster.local", "A", **more)
    reply = desk.raw(question.to_wire(), tcp=tcp)
    answer = dns.message.from_wire(reply)
    assert bool(answer.flags & dns.flags.TC) == truncated
    assert len(values(answer)) == (0 if truncated else count)
    assert tcp or len(reply) <= max(512, more.get("payload", 512))
    assert tcp or len(reply) <= 1232


def test_additional_records_are_the_first_to_go():
    desk = Desk([headless("all", *(Endpoint(f"10.1.0.{n}", 1) for n in range(7)))])
    answer = desk.ask("_db._tcp.all.default.svc.cluster.local", "SRV")
    assert len(values(answer)) == 7
    assert not answer.additional
    assert not answer.flags & dns.flags.TC


def test_golden_answers_stay_as_they_are():
    for case in json.loads(GOLDEN.read_text()):
        assert Desk().raw(bytes.fromhex(case["query"])).hex() == case["reply"], case["asks"]


def check_reply(given_bytes: bytes, reply: bytes | None) -> None:
    """Nothing, or a readable answer to what was asked, no longer than it may be."""
    if reply is None:
        assert isinstance(read(given_bytes), Unreadable)
        return
    assert reply[:2] == given_bytes[:2]
    assert reply[2] & 0x80
    answer = dns.message.from_wire(reply)
    query = read(given_bytes)
    if isinstance(query, Query):
        assert len(reply) <= query.limit_bytes(tcp=False)
        assert reply[12 : 12 + len(query.question)] == query.question
    else:
        assert not answer.answer


@given(st.binary(max_size=80))
def test_any_bytes_get_a_sound_answer_or_none(given_bytes):
    check_reply(given_bytes, DESK.raw(given_bytes))


LABELS = st.sampled_from(
    b"web WEB default svc cluster local pets _tcp _http _zone pin prefer hall-1 pod 10-1-2-3 arpa in-addr ip6 "
    b"0 96 127 dns ns far alias \xff .".split()
)


@given(
    st.lists(LABELS | st.binary(min_size=1, max_size=63), max_size=9),
    st.integers(0, 0x7FFF),
    st.sampled_from([1, 2, 5, 6, 12, 16, 28, 33, 41, 255, 252, 65, 64]),
    st.sampled_from([1, 1, 1, 3, 255]),
    st.sampled_from([b"", OPT, OPT + OPT, OPT[:-2] + b"\x00\x04\x00\x0a\x00\x00", b"\x01"]),
)
def test_any_name_gets_a_sound_answer(labels, flags, kind, klass, extra):
    name = b"".join(bytes((len(label),)) + label for label in labels) + b"\0"
    counts = (1, 0, 0, extra.count(b"\x29"))
    given_bytes = message(flags, counts, name + kind.to_bytes(2, "big") + klass.to_bytes(2, "big") + extra)
    check_reply(given_bytes, DESK.raw(given_bytes))
    check_reply(given_bytes, DESK.raw(given_bytes))


@given(st.ip_addresses())
def test_reverse_and_dashed_names_lead_back(address):
    assert names.reversed_address(names.reverse(address)) == address
    assert names.undashed(names.dashed(address)) == address
    assert names.text_of(names.reverse(address)) == address.reverse_pointer


@given(st.from_regex(r"[a-z0-9_-]{1,63}(\.[a-z0-9_-]{1,63}){0,4}", fullmatch=True))
def test_names_are_written_as_dnspython_writes_them(text):
    try:
        expected = dns.name.from_text(text).to_wire()
    except dns.exception.DNSException:
        expected = None
    assert names.wire(text) == expected
    if expected is not None:
        assert names.text_of(expected) == text
