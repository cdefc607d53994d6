# ruff: noqa: E501  # texts of other files, as they stand there
"""The rules, each broken on purpose: the module, the text in it that holds the rule, and what stands there instead."""

from tests.mutants.mutant import Mutant

DOCUMENTS, SYNC = "tests/twin/manifest/test_agreement.py", "tests/edgehub/sync"
RULES, API, PURE, MERGE, ENGINE, RESIDENTS, FEED, PODS = (
    "tests/twin/test_eight_rules.py",
    "tests/twin/test_api.py",
    "tests/twin/test_rules.py",
    "tests/twin/test_merge.py",
    "tests/twin/test_engine.py",
    "tests/twin/test_residents.py",
    "tests/twin/feed",
    "tests/edgehub/pods/test_reconcile.py",
)


MUTANTS = (
    Mutant("no_seen", "twin.engine", "known_tick(leaf, self.site), by", "0, by"),
    Mutant("seen_not_joined", "twin.merge", "seen = max(a.seen, b.seen)", "seen = newer.seen", (MERGE,)),
    Mutant("arrival_order", "twin.merge", "newer = a if a.tick >= b.tick else b", "newer = b", (MERGE, FEED)),
    Mutant("wall_clock_decides", "twin.merge", "if edge.seen >= cloud.tick:", "if edge.at > cloud.at:", (MERGE, FEED)),
    Mutant("edge_wins_ties", "twin.merge", "edge.at > cloud.at else", "edge.at >= cloud.at else", (MERGE, FEED)),
    Mutant("no_cloud_policy", "twin.merge", "policy is ConflictPolicy.CLOUD", "policy is None", (MERGE, FEED)),
    Mutant("tick_from_the_clock_alone", "twin.tick", "return max(self.last, now_us - 1)", "return now_us - 1"),
    Mutant("tick_not_kept", "twin.engine", "self._ticker.last = max(self._ticker.last, tick)", "pass", (ENGINE,)),
    Mutant(
        "two_transactions",
        "twin.feed",
        "        await self._replica.merge(rows, cursor=cursor, met=self._peer.runs).stored()\n",
        "        await self._replica.merge((), cursor=cursor, met=self._peer.runs).stored()\n"
        "        await self._replica.merge(rows).stored()\n",
    ),
    Mutant(
        "ack_before_commit",
        "twin.feed",
        "        await self._replica.merge(rows, cursor=cursor, met=self._peer.runs).stored()\n",
        "        self._send(Ack(frame.session, cursor))\n"
        "        await self._replica.merge(rows, cursor=cursor, met=self._peer.runs).stored()\n",
    ),
    Mutant(
        "answer_before_commit",
        "twin.commit",
        "        if self.failure is not None:\n            raise",
        "        if False:\n            raise",
        (ENGINE, FEED),
    ),
    Mutant("no_session_check", "twin.feed", "not self.session or message.session != self.session", "not self.session"),
    Mutant("any_welcome", "twin.feed", "self.asked and message.nonce == self.asked", "True"),
    Mutant("beyond_the_cursor", "twin.feed", "if frame.from_ > self._cursor:", "if False:"),
    Mutant("cursor_goes_back", "twin.feed", "cursor = max(self._cursor, frame.upto)", "cursor = frame.upto"),
    Mutant(
        "cursor_not_kept", "twin.sqlite_store", "for site, cursor in batch.cursors.items():", "for site, cursor in ():"
    ),
    Mutant("position_kept_over_sessions", "twin.feed", "self._rewind(peer.cursor)", "self._rewind(self._position)"),
    Mutant(
        "tombstone_dropped",
        "twin.replica",
        "        if slot is None or slot == last:\n",
        "        if slot is not None and type(slot.value).__name__ == 'Tombstone':\n            twin.desired.pop(name, None)\n            return False\n        if slot is None or slot == last:\n",
    ),
    Mutant("runs_ignored", "twin.feed", "(first is not None and first <= peer.top)", "False"),
    Mutant("own_rows_not_restamped", "twin.feed", "if first <= row.slot.tick <= top]", "if False]"),
    Mutant(
        "run_met_too_early",
        "twin.feed",
        "                await self._begin(session, message.standing, standing)\n",
        "                await self._replica.merge((), met=message.standing.runs).stored()\n                await self._begin(session, message.standing, standing)\n",
    ),
    Mutant("no_first_frame", "twin.feed", "if not rows and self._introduced:", "if not rows:"),
    Mutant(
        "lacking_rows_not_restamped",
        "twin.feed",
        "again = to_restamp(mine, message.rows, self._replica.site, self._peer.top)",
        "again: list[Restamp] = []",
    ),
    Mutant("a_mending_is_forgotten", "twin.feed", "self._forked = self._unmended or (", "self._forked = ("),
    Mutant(
        "seen_falls_back",
        "twin.merge",
        "max(other.tick if other else 0, own.seen if own else 0)",
        "other.tick if other else 0",
    ),
    Mutant(
        "a_mending_that_failed_is_not_begun_again", "twin.feed", "elif self.session and self._forked:", "elif False:"
    ),
    Mutant("raised_rows_not_restamped", "twin.feed", "(raised or row.slot.tick <= top)", "row.slot.tick <= top"),
    Mutant("ticks_not_skipped", "twin.feed", "        self._replica.skip_ticks(peer.top)\n", ""),
    Mutant("cloud_reports", "twin.replica", "row.site is not Site.EDGE or ", ""),
    Mutant("peer_writes_our_slots", "twin.feed", "if row.site is peer and", "if"),
    Mutant("another_uid_taken", "twin.residents", "twin is not None and twin.spec.uid == uid", "twin is not None"),
    Mutant("waiting_not_offered", "twin.feed", "waiting=message.recovering", "waiting=False"),
    Mutant("removed_comes_back", "twin.residents", "twin.documented = twin.spec.open", "twin.documented = True"),
    Mutant("versions_start_anew", "twin.residents", "self._versions.get(spec.key, -1) + 1", "0", (RESIDENTS,)),
    Mutant("ids_given_twice", "twin.residents", 'int(notes.get(_NEXT_ID, "1"))', "1", (RESIDENTS,)),
    Mutant("deletes_like_null", "twin.exchange", "isinstance(row.slot.value, Tombstone),\n", "False,\n"),
    # -- pages of digests -------------------------------------------------------------------------------------------
    Mutant("page_begins_anew", "twin.feed", "bisect_right(self._places, after) if after is not None else 0", "0"),
    Mutant(
        "any_answer_turns_the_page",
        "twin.feed",
        "return upto <= end and (after is None or upto > after)",
        "return True",
    ),
    Mutant("a_full_answer_skips_the_rest", "twin.feed", "                    upto = last\n", ""),
    Mutant(
        "a_lost_page_is_not_sent_again",
        "twin.feed",
        "        elif self.session and self._page is not None:\n            self._send_page(self._page[0])\n",
        "        elif self.session and self._page is not None:\n            pass\n",
    ),
    Mutant("pages_before_rows", "twin.feed", "elif self._forked or self.caught_up:", "elif True:"),
    # -- documents of two sites -------------------------------------------------------------------------------------
    Mutant(
        "gone_is_forgotten", "twin.manifest.agreement", "gone = own.gone | theirs.gone", "gone = own.gone", (DOCUMENTS,)
    ),
    Mutant(
        "greater_generation_loses",
        "twin.manifest.agreement",
        "edge.generation > cloud.generation",
        "edge.generation < cloud.generation",
        (DOCUMENTS,),
    ),
    Mutant("both_lives_go_on", "twin.manifest.agreement", "        gone |= {edge.uid}\n", "", (DOCUMENTS,)),
    # -- the gateway's session --------------------------------------------------------------------------------------
    Mutant(
        "a_command_runs_twice",
        "edgehub.sync.commands",
        "        if kept is not None:\n            return",
        "        if False:\n            return",
        (SYNC,),
    ),
    Mutant("expired_commands_run", "edgehub.sync.commands", "if late_ms > 0:", "if False:", (SYNC,)),
    Mutant(
        "memory_apart_from_effect",
        "edgehub.sync.commands",
        "commit = self._engine.note(OWNER, command.id, _text(kept))",
        "commit = self._engine._commits.open; self._engine._commits.start()",
        (SYNC,),
    ),
    Mutant(
        "a_fenced_gateway_stays",
        "edgehub.sync.dialogue",
        '        self.parting = Parting(f"{self.stand.alarm',
        '        Parting(f"{self.stand.alarm',
        (SYNC,),
    ),
    Mutant(
        "no_answer_is_fine",
        "edgehub.sync.dialogue",
        "            await self.feed.retry()\n",
        "            pass\n",
        (SYNC,),
    ),
    Mutant(
        "live_before_equal",
        "edgehub.sync.dialogue",
        "elif self._compared and self.documents.agreed:",
        "elif self._compared:",
        (SYNC,),
    ),
    # -- rule 2: retry ----------------------------------------------------------------------------------------------
    Mutant(
        "nothing_asked_again", "twin.feed", "            self._send(Ack(self.session, self._cursor, again=True))\n", ""
    ),
    Mutant("any_order_of_ticks", "twin.sqlite_store", "ORDER BY tick LIMIT", "ORDER BY -tick LIMIT"),
    Mutant("echo", "twin.sqlite_store", '" WHERE site = ? AND tick > ?', '" WHERE site >= 0 * ? AND tick > ?'),
    Mutant(
        "a_frame_beyond_its_rows",
        "twin.feed",
        "upto = rows[-1].slot.tick if rows else position",
        "upto = position + 10**9",
    ),
    # -- rule 3: clocks and ticks -----------------------------------------------------------------------------------
    Mutant(
        "tick_not_read_back",
        "twin.engine",
        "self._ticker.last = max(self._ticker.last, tick)",
        "self._ticker.last = 0",
        (RULES,),
    ),
    Mutant(
        "far_future_refused",
        "twin.replica",
        "            if joined(twin, row, batch):",
        "            if row.slot.tick <= self._clock.now_us() + 10**12 and joined(twin, row, batch):",
        (RULES, FEED),
    ),
    Mutant("far_future_unnoticed", "twin.tick", "if ahead_us <= FAR_US:", "if ahead_us:", (RULES,)),
    Mutant("one_slot_for_both", "twin.engine", "leaf.with_slot(self.site, slot)", "Leaf(slot, slot)", (RULES, FEED)),
    # -- rule 4: tombstones -----------------------------------------------------------------------------------------
    Mutant(
        "tombstones_lost_at_restart",
        "twin.sqlite_store",
        "for row in db.execute(_LEAVES):",
        "for row in db.execute(_LEAVES + ' WHERE value IS NOT NULL'):",
        (RULES, FEED),
    ),
    Mutant(
        "tombstones_not_sent",
        "twin.sqlite_store",
        "AND tick > ? ORDER",
        "AND value IS NOT NULL AND tick > ? ORDER",
        (RULES,),
    ),
    Mutant(
        "tombstone_collected_too_early",
        "twin.feed",
        "        self._send(Ack(frame.session, cursor))\n",
        "        self._send(Ack(frame.session, cursor))\n        for twin in self._replica._twins:\n            twin.desired = {name: leaf for name, leaf in twin.desired.items() if not any(slot and type(slot.value).__name__ == 'Tombstone' for slot in (leaf.edge, leaf.cloud))}\n",
        (RULES,),
    ),
    Mutant(
        "no_floor",  # tombstones go once both sites have acknowledged them, and nothing remembers that they were there
        "twin.feed",
        "        self._rewind(peer.cursor)\n",
        "        self._rewind(peer.cursor)\n"
        "        if all(row.slot.tick <= peer.cursor for row in self._replica.own_rows()):\n"
        "            for twin in self._replica._twins:\n"
        "                twin.desired = {name: leaf for name, leaf in twin.desired.items() if any(slot and type(slot.value).__name__ != 'Tombstone' for slot in (leaf.edge, leaf.cloud))}\n"
        "            self._replica._store._db.execute('DELETE FROM leaf WHERE section = 1 AND NOT EXISTS (SELECT 1 FROM leaf o WHERE (o.twin, o.section, o.property) = (leaf.twin, leaf.section, leaf.property) AND o.value IS NOT NULL)')\n",
        (f"{RULES}::test_4_a_backup_from_before_a_delete_does_not_bring_the_value_back",),
    ),
    # -- rule 5: who writes, who wins -------------------------------------------------------------------------------
    Mutant("no_edge_policy", "twin.merge", "policy is ConflictPolicy.EDGE", "policy is None", (RULES,)),
    Mutant(
        "policy_decides_always",
        "twin.merge",
        "    if cloud.seen >= edge.tick:\n        return Site.CLOUD\n",
        "",
        (RULES,),
    ),
    Mutant("cloud_engine_reports", "twin.engine", "if self.site is not Site.EDGE:", "if False:", (RULES,)),
    Mutant("explain_forgets_why", "twin.view", "if policy is ConflictPolicy.LATEST:\n", "if True:\n", (API,)),
    Mutant(
        "overruled_value_forgotten",
        "twin.engine",
        "leaf.with_slot(self.site, slot)",
        "Leaf().with_slot(self.site, slot)",
        (RULES,),
    ),
    # -- rule 6: versions -------------------------------------------------------------------------------------------
    Mutant(
        "version_not_rising_on_report",
        "twin.engine",
        "            self._ticker.last = tick\n            twin.version += 1\n",
        "            self._ticker.last = tick\n",
        (RULES,),
    ),
    Mutant("version_not_rising_on_merge", "twin.replica", "            twin.version += 1\n", "", (RULES,)),
    Mutant("version_not_checked", "twin.engine", "version != twin.version", "version > twin.version", (RULES,)),
    # -- rule 7: acknowledgements -----------------------------------------------------------------------------------
    Mutant(
        "told_before_the_commit",
        "twin.commit",
        "        if self.ended:\n            callback(self)",
        "        if True:\n            callback(self)",
        (RULES,),
    ),
    Mutant(
        "failure_untold",
        "twin.commit",
        "                commit.end(failure)",
        "                commit.end(None)",
        (RULES,),
    ),
    Mutant(
        "a_run_that_is_not_on_disk",
        "twin.sqlite_store",
        "for (site, run), first in batch.runs.items():",
        "for (site, run), first in ():",
    ),
    # -- rule 8: validation -----------------------------------------------------------------------------------------
    Mutant(
        "refused_value_stored",
        "twin.engine",
        "                refused = [*(refused or ()), broken]\n                continue\n",
        "                refused = [*(refused or ()), broken]\n",
        (RULES,),
    ),
    Mutant("limits_ignored", "twin.validate", "if not self.low <= value <= self.high:", "if False:", (PURE,)),
    Mutant("enum_ignored", "twin.validate", "if spec.enum and not any(", "if False and not any(", (PURE,)),
    Mutant("plain_despite_enum", "twin.validate", " and not spec.enum\n", "\n", (RULES,)),
    Mutant("access_ignored", "twin.resident", "rule.spec.access is Access.READ_ONLY", "False", (RULES,)),
    Mutant(
        "refusal_names_no_property",
        "twin.resident",
        'return f"{name}: {broken}" if broken',
        "return broken if broken",
        (RULES,),
    ),
    Mutant(
        "delta_without_tolerance",
        "twin.delta",
        "same(value_of(reported), desired, tolerance)",
        "same(value_of(reported), desired, 0.0)",
        (PURE,),
    ),
    # -- section 5: the rest ----------------------------------------------------------------------------------------
    Mutant("run_begins_at_the_clock", "twin.replica", "self._ticker.last + 1\n", "self._clock.now_us()\n"),
    Mutant("top_is_the_cursor", "twin.feed", "max(state.tops[peer], state.cursors[peer]))", "state.cursors[peer])"),
    Mutant("sends_while_forked", "twin.feed", "if self.session and not self._forked:", "if self.session:"),
    Mutant("more_than_the_window", "twin.feed", "while len(self._sent) < WINDOW:", "while True:"),
    Mutant(
        "version_decides",
        "twin.replica",
        "        slot = join_slot(last, row.slot)\n        if slot is None or slot == last:\n",
        "        slot = join_slot(last, row.slot) if twin.version < 3 else last\n        if slot is None or slot == last:\n",
    ),
    # -- pods -------------------------------------------------------------------------------------------------------
    Mutant(
        "init_may_fail",
        "edgehub.pods.reconcile",
        "(known.phase is Phase.EXITED and known.exit_code == 0)",
        "known.phase is Phase.EXITED",
        (PODS,),
    ),
    Mutant(
        "removed_while_it_runs",
        "edgehub.pods.reconcile",
        "if not any(one.alive for one in state.containers.values()):",
        "if True:",
        (PODS,),
    ),
    Mutant(
        "unhealthy_is_left",
        "edgehub.pods.reconcile",
        "if known.phase is Phase.RUNNING and known.unhealthy",
        "if False",
        (PODS,),
    ),
    Mutant("a_change_is_not_seen", "edgehub.pods.reconcile", " or plan.fingerprint != state.fingerprint", "", (PODS,)),
    Mutant(
        "restarts_what_has_succeeded",
        "edgehub.pods.reconcile",
        "RestartPolicy.ON_FAILURE and state.exit_code != 0",
        "RestartPolicy.ON_FAILURE",
        (PODS,),
    ),
    Mutant("no_reset_of_the_backoff", "edgehub.pods.reconcile", "crashes=1 if long_run else", "crashes=", (PODS,)),
    Mutant("done_pods_run_again", "edgehub.pods.reconcile", "    if done:\n", "    if False:\n", (PODS,)),
)
