"""Messages of DNS as a fuzzer sees them: queries of clients, and responses of servers upstream."""

from __future__ import annotations

import dns.message

from mesh.dns.cache import read_response
from mesh.dns.message import Query, read
from tests.mesh.dns.asking import Desk
from tests.mesh.dns.upstream import saying

_DESK = Desk()


def queries():
    """Seeds: what clients ask."""
    for name, kind in (
        ("web.default.svc.cluster.local", "A"),
        ("1.0.96.127.in-addr.arpa", "PTR"),
        ("cluster.local", "ANY"),
    ):
        yield dns.message.make_query(name, kind, use_edns=0).to_wire()
    yield dns.message.make_query("_db._tcp.pets.default.svc.cluster.local", "SRV").to_wire()


def query(given: bytes) -> None:
    """Any message gets no answer, or a readable one that fits, and the same one twice where nothing takes turns."""
    reply = _DESK.raw(given)
    if reply is None:
        return
    assert reply[:2] == given[:2]
    assert dns.message.from_wire(reply).id == int.from_bytes(given[:2], "big")
    asked = read(given)
    if isinstance(asked, Query):
        assert len(reply) <= asked.limit_bytes(tcp=False)
        assert sorted(_DESK.raw(given)) == sorted(reply)


def responses():
    """Seeds: what servers answer."""
    question = dns.message.make_query("a", "A", id=1)
    yield saying("192.0.2.1", "192.0.2.2")(question)
    yield dns.message.make_response(question, our_payload=1232).to_wire()


def response(given: bytes) -> None:
    """What is taken for a response can be given to any client, fresh or stale, and is read there as it was meant."""
    question = b"\x01a\x00\x00\x01\x00\x01"
    heard = read_response(given, question)
    if heard is None:
        return
    assert 0 <= heard.ttl_s <= 3600
    asking = Query(b"\x12\x34", 0x0100, question[:-4], 1, 1, question)
    for age_s, stale in ((0, False), (3, False), (90_000, True)):
        reply = heard.reply(asking, 65_535, age_s, stale=stale)
        assert reply[:2] == b"\x12\x34"
        again = read_response(reply, question)
        assert again is not None
        assert again.counts == heard.counts
