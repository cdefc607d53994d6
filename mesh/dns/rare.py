"""What happens so rarely that dnspython may do it: names that have to be written anew because they move."""

from __future__ import annotations

import struct

import dns.exception
import dns.message
import dns.rdatatype


def without_opt(data: bytes) -> bytes | None:
    """Write a response again without its OPT record, wherever that is; None if it cannot be read."""
    try:
        message = dns.message.from_wire(data, one_rr_per_rrset=True)
        message.use_edns(False)
        return message.to_wire()
    except (dns.exception.DNSException, ValueError, struct.error):
        return None


def loose_answers(data: bytes) -> tuple[bytes, ...]:
    """Write the answers of a response without pointers, so that they fit into any other; none if it cannot be read."""
    try:
        message = dns.message.from_wire(data, one_rr_per_rrset=True)
    except (dns.exception.DNSException, ValueError, struct.error):
        return ()
    written: list[bytes] = []
    for rrset in message.answer:
        for one in rrset:
            body = one.to_wire()
            head = struct.pack("!HHIH", rrset.rdtype, rrset.rdclass, rrset.ttl, len(body or b""))
            written.append((rrset.name.to_wire() or b"") + head + (body or b""))
    return tuple(written)
