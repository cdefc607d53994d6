"""The rules of the mesh, each broken on purpose; see rules.py. A part's mutants stand together."""

from tests.mutants.mutant import Mutant

UPSTREAM, OUTLIER, BALANCE = "mesh.upstream", "mesh.outlier", "mesh.balance"
FLOW = ("tests/mesh/test_upstream.py",)
BALANCED = ("tests/mesh/test_balance.py",)
BROKEN = ("tests/mesh/test_breaker.py",)
LIMITED = ("tests/mesh/test_limits.py",)
RETRIED = ("tests/mesh/test_retry.py",)
SEEN = ("tests/mesh/test_monitor.py",)
PROBES = "mesh.probes"
PROBED = ("tests/mesh/test_probes.py",)
ALERTED = ("tests/mesh/test_alerts.py",)

FLOW_MUTANTS = (
    # Who is next.
    Mutant(
        "turns_in_blocks",
        BALANCE,
        "((turn + (place * _GOLDEN + 0.5) % 1.0) / count, place)",
        "(place, place)",
        BALANCED,
    ),
    Mutant("weights_are_not_reduced", BALANCE, "return [weight // unit for weight in whole]", "return whole", BALANCED),
    Mutant("rounds_without_end", BALANCE, "if sum(whole) // unit <= MOST_TURNS:", "if True:", BALANCED),
    Mutant("workers_in_step", BALANCE, "start = int(rng.random() * len(sequence))", "start = 0", BALANCED),
    Mutant(
        "the_busier_is_taken",
        BALANCE,
        "(other.active + 1) * first.weight < (first",
        "(other.active + 1) * first.weight > (first",
        BALANCED,
    ),
    Mutant(
        "busy_by_number_alone",
        BALANCE,
        "(other.active + 1) * first.weight < (first.active + 1) * other.weight",
        "other.active < first.active",
        BALANCED,
    ),
    Mutant("the_other_may_be_the_same", BALANCE, "if other is first:", "if False:", BALANCED),
    Mutant(
        "points_by_how_many_there_are",
        BALANCE,
        "most = max(ring_size // 4, 64)",
        "most = max(ring_size // len(targets), 8)",
        BALANCED,
    ),
    Mutant("ring_without_weights", BALANCE, "round(most * target.weight / heaviest)", "most", BALANCED),
    Mutant(
        "the_ring_has_an_end",
        BALANCE,
        "return at if at < len(self._points) else 0",
        "return min(at, len(self._points) - 1)",
        BALANCED,
    ),
    # Outliers.
    Mutant(
        "one_failure_too_many",
        OUTLIER,
        "0 < rule.consecutive_local_failures <= target",
        "0 < rule.consecutive_local_failures < target",
        FLOW,
    ),
    Mutant("5xx_are_endured", OUTLIER, "or 0 < rule.consecutive_5xx <= target.server_errors", "", FLOW),
    Mutant(
        "off_is_at_once",
        OUTLIER,
        "or 0 < rule.consecutive_gateway_errors <= target",
        "or rule.consecutive_gateway_errors <= target",
        FLOW,
    ),
    Mutant(
        "rows_are_not_broken",
        OUTLIER,
        "target.server_errors = target.gateway_errors = target.local_failures = 0\n    target.ejected_",
        "target.ejected_",
        FLOW,
    ),
    Mutant(
        "an_answer_is_no_connection", OUTLIER, "    else:\n        target.local_failures = 0\n", "    else:\n", FLOW
    ),
    Mutant(
        "plain_5xx_are_gateway_errors", OUTLIER, "if failure is Outcome.GATEWAY_ERROR else 0", "if True else 0", FLOW
    ),
    Mutant("always_as_long", OUTLIER, "rule.base_ejection_ms * target.ejections", "rule.base_ejection_ms", FLOW),
    Mutant(
        "ejected_without_bound",
        OUTLIER,
        "min(rule.base_ejection_ms * target.ejections, rule.max_ejection_ms)",
        "(rule.base_ejection_ms * target.ejections)",
        FLOW,
    ),
    Mutant("nothing_is_forgiven", OUTLIER, "target.ejections -= int(min(quiet, target.ejections))", "pass", FLOW),
    Mutant(
        "all_is_forgiven",
        OUTLIER,
        "target.ejections -= int(min(quiet, target.ejections))",
        "target.ejections = 0",
        FLOW,
    ),
    Mutant(
        "a_failed_trial_is_one_of_many",
        OUTLIER,
        "target.trial is not Trial.NONE\n        or",
        "False\n        or",
        FLOW,
    ),
    Mutant("back_without_trial", OUTLIER, "target.trial = Trial.WAITING", "target.trial = Trial.NONE", FLOW),
    Mutant("one_more_than_the_percentage", OUTLIER, "(ejected + 1) * 100", "ejected * 100", FLOW),
    Mutant("no_panic", OUTLIER, "return clean == 0 or", "return", FLOW),
    Mutant("min_health_percent_ignored", OUTLIER, "clean * 100 < rule.min_health_percent * of", "False", FLOW),
    # Upstreams.
    Mutant("far_and_near_alike", UPSTREAM, "and target.level <= nearest", "", FLOW),
    Mutant("own_pods_are_far", UPSTREAM, "if endpoint.origin is Origin.HERE or (", "if (", FLOW),
    Mutant(
        "zones_do_not_count", UPSTREAM, "return 1 if self.zone and endpoint.zone == self.zone else 2", "return 2", FLOW
    ),
    Mutant("nowhere_is_a_zone", UPSTREAM, "return 1 if self.zone and endpoint", "return 1 if endpoint", FLOW),
    Mutant("stale_is_fresh", UPSTREAM, "near + (_STALE if target.endpoint.stale else 0)", "near", FLOW),
    Mutant(
        "locality_cannot_be_switched_off",
        UPSTREAM,
        "if self.group.policy.balancer.locality else 0",
        "if True else 0",
        FLOW,
    ),
    Mutant(
        "those_that_go_away_serve",
        UPSTREAM,
        "if one.endpoint.ready and not one.endpoint.terminating",
        "if one.endpoint.ready or one.endpoint.terminating",
        FLOW,
    ),
    Mutant(
        "many_trials_at_once",
        UPSTREAM,
        "if target.trial is _WAITING:\n            target.trial = _RUNNING",
        "if False:\n            pass",
        FLOW,
    ),
    Mutant(
        "a_lost_client_fails_the_trial",
        UPSTREAM,
        "if target.trial is _RUNNING:\n                target.trial = _WAITING",
        "if False:\n                pass",
        FLOW,
    ),
    Mutant(
        "a_connection_says_nothing",
        UPSTREAM,
        "target.local_failures = 0\n        if target.trial is not Trial.NONE or",
        "if target.trial is not Trial.NONE or",
        FLOW,
    ),
    Mutant(
        "an_old_endpoint_ejects_the_new",
        UPSTREAM,
        "or self._targets.get(target.place) is not target",
        "",
        FLOW,
    ),
    Mutant(
        "panic_is_for_good",
        UPSTREAM,
        "if target.marked and (self._panic or not target.ejected):",
        "if target.marked and not target.ejected:",
        FLOW,
    ),
    Mutant("probes_are_not_believed", UPSTREAM, "target.probe_failed = not alive", "pass", FLOW),
    Mutant("life_does_not_end_ejection", UPSTREAM, "if alive and target.ejected:", "if False:", FLOW),
    Mutant("connections_without_bound", UPSTREAM, "self.active >= pool.max_connections:", "False:", FLOW),
    Mutant("requests_without_bound", UPSTREAM, "self.active >= pool.max_requests:", "False:", FLOW),
    Mutant(
        "the_client_s_leaving_is_a_failure",
        UPSTREAM,
        "self.breaker is not None and outcome is not _ABANDONED",
        "self.breaker is not None",
        FLOW,
    ),
    Mutant(
        "changes_wipe_what_is_known",
        UPSTREAM,
        "target = known.get(endpoint.place) or Target(endpoint)",
        "target = Target(endpoint)",
        FLOW,
    ),
    Mutant("no_warm_up", UPSTREAM, "if age_s < warmup_s:", "if False:", FLOW),
    Mutant("all_are_cold_at_first", UPSTREAM, "target.known_s = -math.inf  #", "pass  #", FLOW),
    Mutant(
        "dead_ones_are_tried_first",
        UPSTREAM,
        "key=lambda one: (one.out, one.level)",
        "key=lambda one: (not one.out, one.level)",
        FLOW,
    ),
    # Breakers.
    Mutant("opens_too_early", "mesh.breaker", "if requests >= self._rule.min_requests and", "if", BROKEN),
    Mutant(
        "opens_by_number",
        "mesh.breaker",
        "sum(self._errors) * 100 >= self._rule.error_percent * requests",
        "True",
        BROKEN,
    ),
    Mutant("old_failures_count", "mesh.breaker", "if part > self._part:", "if self._part < 0:", BROKEN),
    Mutant("trials_without_end", "mesh.breaker", "and self._trials < self._rule.trials", "", BROKEN),
    Mutant("one_trial_is_enough", "mesh.breaker", "if self._answered >= self._rule.trials:", "if True:", BROKEN),
    Mutant(
        "a_failed_trial_is_endured",
        "mesh.breaker",
        "            if failed:\n                self._open(now_s)\n                return\n",
        "",
        BROKEN,
    ),
    Mutant(
        "closed_with_old_failures",
        "mesh.breaker",
        "                self._forget()\n                self.state",
        "                self.state",
        BROKEN,
    ),
    Mutant(
        "stuck_half_open",
        "mesh.breaker",
        "if now_s - self._since_s >= self._rule.open_ms / 1000:",
        "if self.state is _OPEN and now_s - self._since_s >= self._rule.open_ms / 1000:",
        BROKEN,
    ),
    # Limits and retries.
    Mutant(
        "buckets_overflow",
        "mesh.limits",
        "min(rule.max_tokens, self._tokens + (fills - self._fills) * rule.tokens_per_fill)",
        "self._tokens + (fills - self._fills) * rule.tokens_per_fill",
        LIMITED,
    ),
    Mutant("clocks_may_go_back", "mesh.limits", "if fills > self._fills:", "if fills != self._fills:", LIMITED),
    Mutant("one_too_many", "mesh.limits", "if self._tokens <= 0:", "if self._tokens < 0:", LIMITED),
    Mutant("keys_without_bound", "mesh.limits", "if len(buckets) > max(1, self._rule.max_keys):", "if False:", LIMITED),
    Mutant("the_busiest_key_is_forgotten", "mesh.limits", "buckets.move_to_end(key)", "pass", LIMITED),
    Mutant("no_jitter", "mesh.retry", "rng.random() * base_ms", "base_ms", RETRIED),
    Mutant(
        "waits_grow_for_ever",
        "mesh.retry",
        "min((1 << min(attempt, MOST)) - 1, MOST)",
        "((1 << min(attempt, MOST)) - 1)",
        RETRIED,
    ),
    Mutant("no_budget", "mesh.retry", "if self.active + 1 > most:", "if False:", RETRIED),
    Mutant("the_percentage_is_ignored", "mesh.retry", ", requests * budget.percent / 100)", ")", RETRIED),
    # What was seen.
    Mutant(
        "a_bucket_off",
        "mesh.tally",
        "times[bucket if bucket < BUCKETS else BUCKETS - 1] += 1",
        "times[min(bucket + 1, BUCKETS - 1)] += 1",
        SEEN,
    ),
    Mutant("those_that_went_are_lost", "mesh.monitor", "self._gone.absorb(tally)\n", "pass\n", SEEN),
    Mutant("open_connections_are_lost", "mesh.monitor", "if tally.active == 0 and (", "if (", SEEN),
    Mutant("everything_is_told_again", "mesh.monitor", "if whole or share.told is not counts:", "if True:", SEEN),
    Mutant("edges_without_bound", "mesh.monitor", "if len(self._edges) >= MOST_EDGES:", "if False:", SEEN),
    Mutant(
        "an_ended_worker_is_forgotten",
        "mesh.snapshot",
        "self._ended.shares = merged_shares([*self._ended.shares.values(), *shares])",
        "pass",
        SEEN,
    ),
    Mutant(
        "the_dead_are_busy",
        "mesh.snapshot",
        "shares = [_idle(one) for one in gone.shares.values()]",
        "shares = list(gone.shares.values())",
        SEEN,
    ),
    Mutant("the_best_is_shown", "mesh.snapshot", "worse = max(", "worse = min(", SEEN),
    Mutant("queries_are_logged", "mesh.access_log", '.partition("?")[0][:LONGEST_PATH]', "[:LONGEST_PATH]", SEEN),
    Mutant("the_log_has_no_bound", "mesh.access_log", "return self._bound.admit(now_s)", "return True", SEEN),
    # Probes.
    Mutant("one_failure_is_death", PROBES, "asked.bad >= probe.check.unhealthy:", "asked.bad:", PROBED),
    Mutant("one_answer_is_life", PROBES, "enough = asked.good >= probe.check.healthy", "enough = asked.good", PROBED),
    Mutant("failures_need_not_be_in_a_row", PROBES, "asked.good + 1, 0", "asked.good + 1, asked.bad", PROBED),
    Mutant("probes_in_step", PROBES, "now_s + self._rng.random() * probe.check.interval_ms / 1000", "now_s", PROBED),
    Mutant("no_one_shares", PROBES, "asked.ports[key] = place", "asked.ports = {key: place}", PROBED),
    Mutant("dead_for_good", PROBES, "freed.append(Finding(key, place, True))", "pass", PROBED),
    Mutant(
        "late_ports_are_not_told", PROBES, "return [] if asked.alive is None else [", "return [] if True else [", PROBED
    ),
    Mutant("asked_twice_as_often", PROBES, "and asked.due_s == at_s and", "and", PROBED),
    Mutant("probes_pile_up", PROBES, "if len(self._due) > 2 * len(self._asked) + 64:", "if False:", PROBED),
    Mutant("tunnels_are_asked", PROBES, "if not endpoint.via:", "if True:", PROBED),
    # Alarms.
    Mutant("alarms_at_once", "mesh.alerts", "if now_s - watch.since_s < rule.for_ms / 1000:", "if False:", ALERTED),
    Mutant(
        "a_pause_does_not_matter",
        "mesh.alerts",
        "                watch.stage = _Stage.QUIET\n                return None\n",
        "                return None\n",
        ALERTED,
    ),
    Mutant("no_margin", "mesh.alerts", "margin = abs(rule.threshold) * MARGIN", "margin = 0.0", ALERTED),
    Mutant(
        "over_at_once",
        "mesh.alerts",
        "if now_s - watch.since_s < max(rule.for_ms / 1000, CALM_S):",
        "if False:",
        ALERTED,
    ),
    Mutant(
        "the_whole_past_counts",
        "mesh.alerts",
        "while len(history) > 2 and history[1].at_s <= now_s - WINDOW_S:",
        "while False:",
        ALERTED,
    ),
    Mutant("a_new_start_is_a_loss", "mesh.alerts", "history.clear()  #", "pass  #", ALERTED),
    Mutant("too_many_clients_are_a_fault", "mesh.alerts", "if why in FAILURES", "if True", ALERTED),
    Mutant(
        "alarms_of_no_rule_stay",
        "mesh.alerts",
        "events.append(Alert(watch.rule, key[1], False, now_s, 0.0",
        "str((0.0",
        ALERTED,
    ),
)

KERNEL, SHARES = "mesh.planes.nft.rules", "mesh.planes.nft.shares"
RULED = ("tests/mesh/nft/test_rules.py",)

KERNEL_MUTANTS = (
    Mutant("a_map_has_the_last_word", KERNEL, ', f"{start} {members[0].place}"]', "]", RULED),
    Mutant("backends_by_map_alone", KERNEL, ", *targets[:1]]", "]", RULED),
    Mutant("out_of_use_is_used", KERNEL, "if one.version == self.version and one.weight > 0]", "]", RULED),
    Mutant("limits_begin_anew", KERNEL, "        if bounds:", "        if False:", RULED),
    Mutant("rates_by_the_week", KERNEL, "if tokens * one[1] * 1000 % interval_ms == 0", "if False", RULED),
    Mutant("slots_by_number_of_endpoints", KERNEL, "drawn[at][0][slot]", "float((slot + at) % len(drawn))", RULED),
    Mutant("slots_do_not_weigh", KERNEL, "/ drawn[at][1])", ")", RULED),
    Mutant("links_may_overlap", KERNEL, "and one.overlaps(wider) for", "and False for", RULED),
    Mutant(
        "near_is_far", KERNEL, "if member.near else (OPENED, PORT_OPENED)", "if False else (OPENED, PORT_OPENED)", RULED
    ),
    Mutant("one_family_for_all", KERNEL, "for version in (4, 6):", "for version in (4,):", RULED),
    Mutant(
        "small_shares_vanish", SHARES, "[int(weight > 0) for weight in weights]", "[0 for weight in weights]", RULED
    ),
    Mutant(
        "left_out_is_cut",
        SHARES,
        "dead = known is None and after is not None",
        "dead = known is None or not known.weight",
        RULED,
    ),
    Mutant(
        "a_service_that_goes_cuts", SHARES, "dead = known is None and after is not None", "dead = known is None", RULED
    ),
    Mutant(
        "datagrams_stay",
        SHARES,
        "dead = known is None or (known.weight <= 0 and not known.leaving)",
        "dead = known is None",
        RULED,
    ),
    Mutant("leaving_is_gone", SHARES, " and not known.leaving)", ")", RULED),
    Mutant("loopback_is_reached", SHARES, "if parsed.is_loopback:", "if False:", RULED),
    Mutant(
        "elements_come_before_they_go",
        "mesh.planes.nft.ruleset",
        'lines += _elements("delete", old_elements - new_elements)',
        'late = _elements("delete", old_elements - new_elements)',
        RULED,
    ),
    Mutant(
        "sets_keep_their_spec",
        "mesh.planes.nft.ruleset",
        "if new_sets.get(name) != one]",
        "if name not in new_sets]",
        RULED,
    ),
    Mutant(
        "names_run_together",
        "mesh.planes.nft.names",
        "return f\"{name[:_LONGEST]}/{blake2b('/'.join(parts).encode(), digest_size=8).hexdigest()}\"",
        "return name[:_LONGEST]",
        RULED,
    ),
    Mutant(
        "counters_run_backwards",
        "mesh.planes.nft.meter",
        "if value >= before else value",
        "",
        ("tests/mesh/nft/test_meter.py",),
    ),
)

HELLO, RULES, AFFINITY = "mesh.planes.l4.client_hello", "mesh.planes.l4.rules", "mesh.planes.l4.affinity"
GREETED = ("tests/mesh/test_client_hello.py",)
BOUND = ("tests/mesh/test_l4_rules.py",)
FRAMES, IDENTITY, SERVING = "mesh.tunnel.frames", "mesh.tunnel.identity", "mesh.tunnel.serving"
TUNNELLED = ("tests/mesh/test_tunnel.py",)

RAW_MUTANTS = (
    # The first message of a TLS client.
    Mutant("hello_in_one_record_only", HELLO, "at += 5 + length", "at = len(received)", GREETED),
    Mutant("any_record_is_a_hello", HELLO, "and received[at] != _HANDSHAKE", "and False", GREETED),
    Mutant("hellos_without_end", HELLO, "if len(received) > MAX_BYTES:", "if False:", GREETED),
    Mutant("two_names_are_fine", HELLO, "            if seen:", "            if False:", GREETED),
    Mutant("any_name_will_do", HELLO, "if not _NAME.fullmatch(host):", "if False:", GREETED),
    Mutant("case_matters", HELLO, 'decode("latin-1").lower()', 'decode("latin-1")', GREETED),
    Mutant("lengths_are_believed", HELLO, "if count > len(self.left):", "if False:", GREETED),
    # Rules by host name.
    Mutant("wildcards_take_nothing_too", RULES, "len(asked) > len(hostname) - 1", "True", BOUND),
    Mutant(
        "wildcards_take_parts_of_labels", RULES, "asked.endswith(hostname[1:])", "asked.endswith(hostname[2:])", BOUND
    ),
    Mutant("the_last_host_name_counts", RULES, "if fit > best_fit:", "if fit >= best_fit:", BOUND),
    Mutant("wildcards_before_names", RULES, "return 1 + 2 * len(hostname)", "return 1", BOUND),
    # Stays.
    Mutant("stays_for_ever", AFFINITY, "if now_s >= stay.until_s:", "if False:", BOUND),
    Mutant("stays_without_bound", AFFINITY, "if len(self._stays) > self._max_clients:", "if False:", BOUND),
    Mutant("the_seen_are_forgotten", AFFINITY, "self._stays.move_to_end(client)", "pass", BOUND),
    # The tunnel.
    Mutant("words_of_any_length", FRAMES, "if len(body) > MAX_WORDS_BYTES:", "if False:", TUNNELLED),
    Mutant("whoever_answers", IDENTITY, "if gateway and name != gateway:", "if False:", TUNNELLED),
    Mutant("any_authority", IDENTITY, "certificate.verify_directly_issued_by(read.authority)", "pass", TUNNELLED),
    Mutant(
        "servers_are_gateways",
        IDENTITY,
        "if ExtendedKeyUsageOID.CLIENT_AUTH not in purposes or len(names) != 1:",
        "if len(names) != 1:",
        TUNNELLED,
    ),
    Mutant(
        "no_time_is_over", IDENTITY, "if not certificate.not_valid_before_utc <=", "if not certificate and", TUNNELLED
    ),
    Mutant("revoked_or_not", IDENTITY, "if certificate.serial_number in read.revoked:", "if False:", TUNNELLED),
    Mutant(
        "files_are_read_once",
        IDENTITY,
        "if self._read is None or self._read.stamp != stamp:",
        "if self._read is None:",
        TUNNELLED,
    ),
    Mutant(
        "open_to_other_nodes", SERVING, "return target.endpoint if here else None", "return target.endpoint", TUNNELLED
    ),
    Mutant("tunnels_lead_on", SERVING, "if target is None or target.endpoint.via:", "if target is None:", TUNNELLED),
)

MESH_MUTANTS = (*FLOW_MUTANTS, *KERNEL_MUTANTS, *RAW_MUTANTS)
