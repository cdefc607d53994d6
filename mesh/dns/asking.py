"""One question to a DNS server, as a client asks it; for people who want to know what a server says."""

from __future__ import annotations

from collections.abc import Iterator

import dns.exception
import dns.message
import dns.query
import dns.rcode
import dns.rdatatype

from mesh.errors import MeshError


class NoAnswer(MeshError):
    """A server does not answer, or not with what a DNS server says."""


def ask(server: str, name: str, record: str, *, tcp: bool = False, within_s: float = 3.0) -> tuple[str, list[str]]:
    """The status and the answers of ``server``, which is ``host:port`` with the host as a number. Raises NoAnswer."""
    host, _, port = server.rpartition(":")
    send = dns.query.tcp if tcp else dns.query.udp
    try:
        reply = send(dns.message.make_query(name, record), host.strip("[]"), timeout=within_s, port=int(port))
    except (OSError, ValueError, dns.exception.DNSException) as error:
        message = f"the DNS at {server} does not answer over {'TCP' if tcp else 'UDP'}: {error}"
        raise NoAnswer(message) from error
    return dns.rcode.to_text(reply.rcode()), list(_texts(reply))


def _texts(reply: dns.message.Message) -> Iterator[str]:
    for rrset in reply.answer:
        for item in rrset:
            yield f"{rrset.name} {rrset.ttl} {dns.rdatatype.to_text(rrset.rdtype)} {item.to_text()}"
