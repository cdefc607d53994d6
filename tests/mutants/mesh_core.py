"""The rules of tables, of who is believed, and of planes kept in step, each broken on purpose; see rules.py."""

from tests.mutants.mutant import Mutant

COMPILED = ("tests/mesh/test_compile.py",)
CHANGED = ("tests/mesh/test_compile_changes.py",)
ORDER, BINDING, GROUPING, COMPILE = "mesh.precedence", "mesh.binding", "mesh.grouping", "mesh.compile"
REGISTRY, JUDGING, STATE = "mesh.registry", "mesh.judging", "mesh.state"
MERGED, JUDGED, STEPS = ("tests/mesh/test_registry.py",), ("tests/mesh/test_judging.py",), ("tests/mesh/test_state.py",)
TOLD = ("tests/mesh/test_programming.py",)
WRITTEN = ("tests/mesh/test_wire.py",)
KEPT = ("tests/mesh/test_store.py",)

CORE_MUTANTS = (
    # The order of rules.
    Mutant(
        "wild_hosts_first",
        ORDER,
        'return (1, -len(host)) if host.startswith("*.") else (0, -len(host))',
        "return 0, 0",
        COMPILED,
    ),
    Mutant(
        "short_prefixes_first",
        ORDER,
        'length = -len(match.path.rstrip("/"))',
        'length = len(match.path.rstrip("/"))',
        COMPILED,
    ),
    Mutant("a_slash_hides_patterns", ORDER, "return (1, length) if length else (3, 0)", "return 1, length", COMPILED),
    Mutant(
        "methods_do_not_count", ORDER, "not match.method, -len(match.headers)", "True, -len(match.headers)", COMPILED
    ),
    Mutant(
        "fewer_headers_first",
        ORDER,
        "-len(match.headers), -len(match.query)",
        "len(match.headers), -len(match.query)",
        COMPILED,
    ),
    Mutant(
        "young_routes_first",
        ORDER,
        "return route.created_ms, route.key.namespace",
        "return -route.created_ms, route.key.namespace",
        COMPILED,
    ),
    Mutant("everything_is_swallowed", ORDER, "and first.rule.matches and second.rule.matches:", "and True:", COMPILED),
    Mutant(
        "limits_are_lost",
        ORDER,
        "(policy.rate_limit, policy.degrade) if policy else (None, ())",
        "(None, ())",
        COMPILED,
    ),
    # Frontends.
    Mutant("all_kinds_at_once", BINDING, "elif route.key.kind is not first:", "elif False:", COMPILED),
    Mutant("two_tcp_routes", BINDING, "elif first is RouteKind.TCP and chosen:", "elif False:", COMPILED),
    Mutant("raw_ports_have_many_rules", BINDING, "rules = rules[:1]  #", "pass  #", COMPILED),
    Mutant("addresses_are_shared", BINDING, "        if owner == key:\n", "        if True:\n", COMPILED),
    Mutant(
        "the_last_by_name_has_it",
        COMPILE,
        "min(claims.get(claim, key), key)",
        "max(claims.get(claim, key), key)",
        COMPILED,
    ),
    Mutant("the_kernel_reads_http", GROUPING, "if app is not AppProtocol.RAW:", "if False:", COMPILED),
    Mutant("the_kernel_breaks_circuits", GROUPING, "(policy.breaker is not None, ", "(False, ", COMPILED),
    Mutant("the_kernel_enters_tunnels", GROUPING, "(tunnelled, ", "(False, ", COMPILED),
    Mutant(
        "what_is_behind_does_not_count",
        BINDING,
        "if why := beyond.get(backend.port.service):",
        "if why := '':",
        COMPILED,
    ),
    Mutant(
        "defaults_are_complained_of",
        BINDING,
        "    if asking and not why:",
        "    asking = asking or service.key\n    if asking and not why:",
        COMPILED,
    ),
    # Endpoints.
    Mutant(
        "the_unready_are_used",
        GROUPING,
        "publish_not_ready or (endpoint.ready and not endpoint.terminating)",
        "True",
        COMPILED,
    ),
    Mutant(
        "the_ending_are_used", GROUPING, "(endpoint.ready and not endpoint.terminating)", "endpoint.ready", COMPILED
    ),
    Mutant("the_ending_are_never_used", GROUPING, "if one.terminating and one.serving}", "if False}", COMPILED),
    Mutant("local_is_everywhere", GROUPING, "service.local_only and endpoint.node != node", "False", COMPILED),
    Mutant("loops_stay", "mesh.loops", "if key in _reached(to, aims, frontends):", "if False:", COMPILED),
    Mutant("every_chain_is_a_loop", "mesh.loops", "if key in _reached(to, aims, frontends):", "if True:", COMPILED),
    Mutant(
        "node_ports_are_no_loop",
        "mesh.loops",
        "if found is None and endpoint.address in _LOOPBACK:",
        "if False:",
        COMPILED,
    ),
    Mutant("degrades_to_itself", "mesh.checks", "one.then.port.service == key)", "False)", COMPILED),
    # A change is the whole.
    Mutant(
        "routes_are_no_news",
        COMPILE,
        "if change != TableChange(services=change.services):",
        "if change.gone_services:",
        CHANGED,
    ),
    Mutant(
        "outlines_do_not_count", COMPILE, "_outline(known, before) != _outline(service, before):", "False:", CHANGED
    ),
    Mutant(
        "opened_circles_stay",
        COMPILE,
        "aimed = port_key(service, port) in before.aims",
        "aimed = False",
        CHANGED,
    ),
    Mutant(
        "left_routes_stay",
        COMPILE,
        "for key in around.routes.keys() | before.bound.keys():",
        "for key in around.routes.keys():",
        COMPILED,
    ),
    Mutant(
        "new_loops_are_not_seen",
        COMPILE,
        "if aimed or any(aim_of(one, port.transport, before.claims) for one in port.endpoints):",
        "if False:",
        CHANGED,
    ),
    Mutant("old_loops_stay", COMPILE, "or name in left_out or name in before.aims:", "or name in left_out:", COMPILED),
    Mutant("what_is_gone_stays", "mesh.difference", "if len(old) + added == len(new):", "if True:", CHANGED),
    # Who is believed of what is there.
    Mutant("the_cloud_knows_better", REGISTRY, "    if endpoint.node == node:\n        return False\n", "", MERGED),
    Mutant("peers_speak_for_others", REGISTRY, "endpoint.node == said.node != node", "True", MERGED),
    Mutant("the_cloud_speaks_for_peers", REGISTRY, "return endpoint.origin is Origin.PEER\n", "return True\n", MERGED),
    Mutant(
        "lost_peers_are_believed",
        REGISTRY,
        "return endpoint.origin is Origin.CLOUD or not cloud",
        "return True",
        MERGED,
    ),
    Mutant(
        "without_a_cloud_peers_are_forgotten",
        REGISTRY,
        "return endpoint.origin is Origin.CLOUD or not cloud",
        "return endpoint.origin is Origin.CLOUD",
        MERGED,
    ),
    # Who is believed of what lives.
    Mutant("others_know_better", JUDGING, "    if here is not None:\n        return here, False\n", "", JUDGED),
    Mutant("one_vote_is_enough", JUDGING, "return len(votes) < QUORUM, True", "return False, True", JUDGED),
    Mutant(
        "a_tie_is_death", JUDGING, "if against * 2 <= len(votes):", "if against * 2 < len(votes) or not votes:", JUDGED
    ),
    Mutant("votes_do_not_age", JUDGING, "now_ms - heard.at_ms <= VOTE_AGE_MS and spot", "spot", JUDGED),
    Mutant("votes_for_itself", JUDGING, "if voter != node and", "if", JUDGED),
    Mutant(
        "no_panic_of_lists",
        JUDGING,
        "panic = not any(one.ready and not dead for one, dead in found)",
        "panic = False",
        JUDGED,
    ),
    Mutant(
        "nothing_grows_old",
        JUDGING,
        "old = lost is not None and now_ms - lost >= rule.max_age_ms",
        "old = False",
        JUDGED,
    ),
    Mutant("old_is_always_dropped", JUDGING, "if old and rule.drop:", "if old:", JUDGED),
    Mutant("brokers_grow_old", JUDGING, "    if not endpoint.node:\n        return None\n", "", JUDGED),
    Mutant("lost_since_now", STATE, "now_ms if known.cloud_lost_ms is None else known.cloud_lost_ms", "now_ms", STEPS),
    Mutant("found_forever", STATE, "not self._is_watched(spot)}", "False}", STEPS),
    Mutant("found_of_nobody", STATE, "if self._is_watched(spot)}", "if True}", STEPS),
    Mutant("time_stands_still", STATE, "            self._due_ms = due\n", "            pass\n", STEPS),
    # Planes in step.
    Mutant("closed_before_it_is_open", "mesh.programming", "if not told.is_left_by(one))", "if True)", TOLD),
    Mutant(
        "closed_though_it_failed",
        "mesh.programming",
        "if told.is_left_by(one) and one.key not in failed)",
        "if told.is_left_by(one))",
        TOLD,
    ),
    Mutant("broken_and_forgotten", "mesh.programming", "        if self._broke:\n            return\n", "", TOLD),
    Mutant("doubts_are_forgotten", "mesh.programming", "if doubtful else delta", "if False else delta", TOLD),
    # Files and frames.
    Mutant("twice_is_once", "mesh.wire", "    if len(found) != len(pairs):", "    if False:", WRITTEN),
    Mutant("two_of_one", "mesh.written", "if len(found) != 1:", "if False:", WRITTEN),
    Mutant(
        "no_good_copy",
        "mesh.store",
        "if not self._good.exists() or self._good.read_bytes() != text:",
        "if False:",
        KEPT,
    ),
    Mutant("torn_writes_stay", "mesh.store", "        Path(name).unlink(missing_ok=True)\n", "", KEPT),
)
