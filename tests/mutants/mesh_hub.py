"""The rules by which a gateway binds the mesh, each broken on purpose; see rules.py."""

from tests.mutants.mutant import Mutant

HERE, OFFERS = "edgehub.mesh.here", "edgehub.offers"
TWINS, TRAFFIC = "edgehub.mesh.twins", "edgehub.mesh.traffic"
ADDRESSES, INTEREST, STATE, DOCTOR = (
    "edgehub.mesh.addresses",
    "edgehub.mesh.interest",
    "edgehub.mesh.state",
    "edgehub.mesh.doctor",
)
OFFERED = ("tests/edgehub/mesh/test_here.py",)
TOLD = ("tests/edgehub/mesh/test_twins.py",)
PASSED = ("tests/edgehub/mesh/test_traffic.py",)
ADDRESSED = ("tests/edgehub/mesh/test_addresses.py",)
USED = ("tests/edgehub/mesh/test_interest.py",)
SAID = ("tests/edgehub/mesh/test_state.py",)
LOOKED = ("tests/edgehub/mesh/test_doctor.py",)

SHARED = ("tests/mesh/test_sharing.py",)
REVOKED = ("tests/edgehub/test_revocations.py",)
KEPT = ("tests/mesh/nft/test_rules.py",)

HUB_MUTANTS = (
    # What several processes carry.
    Mutant("limits_in_each_worker", "mesh.sharing", "policy.rate_limit is not None or", "False or", SHARED),
    Mutant("bounds_of_routes_do_not_count", "mesh.sharing", "in bound.rule.backends)", "in ())", SHARED),
    # Who is revoked.
    Mutant("anybody_revokes", "edgehub.revocations", "if not signed:", "if False:", REVOKED),
    Mutant("old_lists_count", "edgehub.revocations", "not before or number >", "not before or -number <", REVOKED),
    # Who stays with an endpoint.
    Mutant("clients_of_endpoints_that_went", "mesh.planes.nft.ruleset", "if one.set in kept_s)", ")", KEPT),
    Mutant("clients_stay_longer", "mesh.planes.nft.ruleset", ", kept_s[one.set]))", ", 10**9))", KEPT),
    # What this gateway offers.
    Mutant("pods_of_other_gateways", OFFERS, "if spec.node_name in (None, node):", "if True:", OFFERED),
    Mutant("mappers_that_do_not_run", HERE, "spec.enabled and runs(stored.ref.name)", "spec.enabled", OFFERED),
    Mutant("mappers_on_any_port", OFFERS, "offered = not self.only_named or", "offered = True or", OFFERED),
    Mutant(
        "pods_of_other_namespaces", OFFERS, "self._by_namespace.get(service.ref.namespace, ())", "list(self)", OFFERED
    ),
    # Twins.
    Mutant("every_gateway_has_the_same_twin", TWINS, 'whole = f"{name}.{gateway}"', "whole = name", TOLD),
    Mutant("noise_is_reported", TWINS, "if not rates or not differs(before, now.rates):", "if not rates:", TOLD),
    Mutant("rates_out_of_turn", TWINS, "if not rates or not differs(", "if not differs(", TOLD),
    Mutant("nothing_more_is_no_news", TWINS, "(old == 0) != (new == 0) or abs", "abs", TOLD),
    Mutant("nearest_last", TWINS, "pair[0].node != place.node", "pair[0].node == place.node", TOLD),
    # Rates.
    Mutant("the_past_is_a_rate", TRAFFIC, "yield name, passed.minus(first[name]) if", "yield name, passed if", PASSED),
    Mutant("the_window_has_no_end", TRAFFIC, "self._moments[1].at_s <= now_s - WINDOW_S", "False", PASSED),
    Mutant("bad_requests_are_errors", TRAFFIC, "{Own.REDIRECTED, Own.NO_ROUTE, Own.BAD_REQUEST}", "set()", PASSED),
    Mutant(
        "only_answers_are_errors",
        TRAFFIC,
        "self.counts.by_class[5] + self.failed_here",
        "self.counts.by_class[5]",
        PASSED,
    ),
    Mutant("ejected_is_well", TRAFFIC, "if place.state in _HEALTH}:", "if False}:", PASSED),
    # Addresses.
    Mutant("an_address_twice", ADDRESSES, "and self._owners.get(address, key) == key", "", ADDRESSED),
    Mutant("the_address_of_dns", ADDRESSES, "and address not in self._taken and", "and", ADDRESSED),
    Mutant("addresses_are_forgotten", ADDRESSES, "known[ServiceKey(namespace, service)] = address", "pass", ADDRESSED),
    Mutant(
        "nobody_gets_what_he_asks_for",
        ADDRESSES,
        "if wanted and self._is_free",
        "if False and self._is_free",
        ADDRESSED,
    ),
    # What is used.
    Mutant("names_for_ever", INTEREST, "if now_ms - at < KEPT_MS}", "}", USED),
    Mutant("names_without_bound", INTEREST, "if len(self._asked) > MOST:", "if False:", USED),
    Mutant("the_oldest_are_kept", INTEREST, "reverse=True", "reverse=False", USED),
    Mutant(
        "what_is_sent_is_wanted",
        INTEREST,
        "if key not in by_cloud and not one.external_name",
        "if not one.external_name",
        USED,
    ),
    # What the process says.
    Mutant("a_refusal_is_forgotten", STATE, "if frame.number > self.refused_number:", "if True:", SAID),
    Mutant("health_is_no_news", STATE, "return {*_services(ports),", "return {", SAID),
    # The doctor.
    Mutant("ports_without_endpoints_are_tried", DOCTOR, "if served and (why :=", "if (why :=", LOOKED),
    Mutant("a_wrong_answer_is_an_answer", DOCTOR, 'answer.endswith(f" {one.address}")', "answer", LOOKED),
    Mutant("dns_over_tcp_is_not_tried", DOCTOR, '((False, "UDP"), (True, "TCP"))', '((False, "UDP"),)', LOOKED),
)
