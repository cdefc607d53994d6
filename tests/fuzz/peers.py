"""What another gateway tells, as a fuzzer sees it."""

from __future__ import annotations

from edgehub.mesh.gossip import Gossip
from twin.errors import EdgetwinError
from twin.wire import topics


def told(given: bytes) -> None:
    """Any message is understood or refused; what it offers is on the gateway that said so, at addresses of its own."""
    heard = Gossip("a", "run", ["gw-2"], 0)
    heard.reached("gw-2", 0, reached=True)
    for topic in (topics.mesh_endpoints("gw-2"), topics.mesh_votes("gw-2")):
        try:
            heard.took("gw-2", topic, given, 0)
        except EdgetwinError:
            continue
        for said in heard.said():
            for endpoint in (one for ones in said.endpoints.values() for one in ones):
                assert endpoint.node == "gw-2"
                assert not endpoint.address.startswith(("127.", "0.0.0.0"))
        assert {ballot.node for ballot in heard.ballots([], 0)} == {"a", "gw-2"}
