# texts of other files, as they stand there
"""The rules between gateways on one network, each broken on purpose; see rules.py."""

from tests.mutants.mutant import Mutant

GOSSIP = "edgehub.mesh.gossip"
LEARNT = "edgehub.mesh.learnt"
TOLD = ("tests/edgehub/mesh/test_gossip.py",)
LEARNS = ("tests/edgehub/mesh/test_learnt.py",)

PEER_MUTANTS = (
    Mutant("peer_over_a_document", LEARNT, "if key.service not in known:", "if True:", LEARNS),
    Mutant("peer_without_bound", LEARNT, "sorted(ports)[:MOST]", "sorted(ports)", LEARNS),
    Mutant("peer_headless_for_one", LEARNT, "headless = all(", "headless = any(", LEARNS),
    Mutant("peer_name_twice", LEARNT, '"" if shape.name in taken else shape.name', "shape.name", LEARNS),
    Mutant(
        "peer_shape_of_the_last",
        GOSSIP,
        "sorted(self._peers.items(), reverse=True)",
        "sorted(self._peers.items())",
        TOLD,
    ),
    Mutant("peer_speaks_for_another", GOSSIP, "    if said != peer:\n", "    if False:\n", TOLD),
    Mutant("peer_offers_our_loopback", GOSSIP, "or (address.is_loopback and not near)", "or False", TOLD),
    Mutant("peer_names_any_service", GOSSIP, "        if NAME.fullmatch(name) is None:\n", "        if False:\n", TOLD),
    Mutant(
        "peer_old_word_counts",
        GOSSIP,
        "message.run == known.said[0] and message.number <= known.said[1]",
        "False",
        TOLD,
    ),
    Mutant(
        "peer_old_vote_counts",
        GOSSIP,
        "message.run == known.voted[0] and message.number <= known.voted[1]",
        "False",
        TOLD,
    ),
    Mutant("peer_votes_from_the_grave", GOSSIP, "known.votes = None  # who", "pass  # who", TOLD),
    Mutant("peer_silence_at_once", GOSSIP, "now_ms - peer.lost_ms >= SILENT_MS", "True", TOLD),
    Mutant("peer_silence_says_nothing", GOSSIP, "_against(on, silent, {})", "()", TOLD),
    Mutant("peer_silence_over_findings", GOSSIP, "            if spot not in known:\n", "            if True:\n", TOLD),
    Mutant("peer_votes_stay_young", GOSSIP, "age_ms=max(now_ms - peer.voted_ms, 0)", "age_ms=0", TOLD),
    Mutant("peer_findings_for_ever", GOSSIP, "if spot in there}", "if True}", TOLD),
)
