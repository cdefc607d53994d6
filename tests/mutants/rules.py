# ruff: noqa: E501  # texts of other files, as they stand there
"""The rules, each broken on purpose: the module, the text in it that holds the rule, and what stands there instead."""

from typing import NamedTuple

MERGE, ENGINE, RESIDENTS, FEED = (
    "tests/twin/test_merge.py",
    "tests/twin/test_engine.py",
    "tests/twin/test_residents.py",
    "tests/twin/feed",
)


class Mutant(NamedTuple):
    """One rule broken. ``tests`` must fail with it."""

    name: str
    module: str
    was: str
    becomes: str
    tests: tuple[str, ...] = (FEED,)


MUTANTS = (
    Mutant("no_seen", "twin.engine", "other.tick if other else 0, by", "0, by"),
    Mutant("seen_not_joined", "twin.merge", "seen = max(a.seen, b.seen)", "seen = newer.seen", (MERGE,)),
    Mutant("arrival_order", "twin.merge", "newer = a if a.tick >= b.tick else b", "newer = b", (MERGE, FEED)),
    Mutant("wall_clock_decides", "twin.merge", "if edge.seen >= cloud.tick:", "if edge.at > cloud.at:", (MERGE, FEED)),
    Mutant("edge_wins_ties", "twin.merge", "edge.at > cloud.at else", "edge.at >= cloud.at else", (MERGE, FEED)),
    Mutant("no_cloud_policy", "twin.merge", "policy is ConflictPolicy.CLOUD", "policy is None", (MERGE, FEED)),
    Mutant("tick_from_the_clock_alone", "twin.tick", "return max(self.last, now_us - 1)", "return now_us - 1"),
    Mutant("tick_not_kept", "twin.engine", "self._ticker.last = max(self._ticker.last, tick)", "pass"),
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
    Mutant(
        "no_session_check", "twin.feed", "not self._session or message.session != self._session", "not self._session"
    ),
    Mutant("any_welcome", "twin.feed", "self._asked and message.nonce == self._asked", "True"),
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
    Mutant(
        "runs_ignored", "twin.feed", "self._forked = first is not None and first <= peer.top", "self._forked = False"
    ),
    Mutant("own_rows_not_restamped", "twin.feed", "if first <= row.slot.tick <= peer.top]", "if False]"),
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
        "again = [Restamp(row, above) for row in lacking if row.slot.tick <= above]",
        "again: list[Restamp] = []",
    ),
    Mutant("ticks_not_skipped", "twin.feed", "        self._replica.skip_ticks(peer.top)\n", ""),
    Mutant("cloud_reports", "twin.replica", "row.site is not Site.EDGE or ", ""),
    Mutant("peer_writes_our_slots", "twin.feed", "if row.site is peer and", "if"),
    Mutant("another_uid_taken", "twin.residents", "twin is not None and twin.spec.uid == uid", "twin is not None"),
    Mutant("waiting_not_offered", "twin.feed", "waiting=message.recovering", "waiting=False"),
    Mutant("removed_comes_back", "twin.residents", "twin.documented = False", "twin.documented = True"),
    Mutant("versions_start_anew", "twin.residents", "self._versions.get(spec.key, -1) + 1", "0", (RESIDENTS,)),
    Mutant("ids_given_twice", "twin.residents", 'int(notes.get(_NEXT_ID, "1"))', "1", (RESIDENTS,)),
    Mutant("deletes_like_null", "twin.exchange", "isinstance(row.slot.value, Tombstone),\n", "False,\n"),
    Mutant(
        "version_decides",
        "twin.replica",
        "        slot = join_slot(last, row.slot)\n        if slot is None or slot == last:\n",
        "        slot = join_slot(last, row.slot) if twin.version < 3 else last\n        if slot is None or slot == last:\n",
    ),
)
