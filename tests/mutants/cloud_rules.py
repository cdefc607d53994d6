# ruff: noqa: E501  # texts of other files, as they stand there
"""The rules of the cloud's end, each broken on purpose; see rules.py."""

from tests.mutants.mutant import Mutant

SESSIONS, FEED, DOCUMENTS, WRITING, OTHERS = (
    f"tests/cloudsync/sync/test_{name}.py"
    for name in ("sessions", "feed", "documents", "writing", "commands_and_history")
)
MEMORY, SQL = (
    f"tests/sim/test_simulation.py::{name}"
    for name in ("test_the_same_over_a_store_in_memory", "test_all_replicas_agree_and_no_acknowledged_edit_is_lost")
)

_MEASURED = """                ready_s = self._clock.monotonic_s()
            ended_s = self._clock.monotonic_s()
            self.turn_times.add(ended_s - began_s)
            self.commit_times.add(ended_s - ready_s)
"""
_ANSWER = "            for message in turn.out:\n                self._send(gateway, message)\n"
_FRAME = "                await feed.take_frame(turn, message, patient=patient)\n"

CLOUD_MUTANTS = (
    # -- one transaction ----------------------------------------------------------------------------------------------
    Mutant(
        "cloud_two_transactions",
        "cloudsync.hub",
        _FRAME,
        "                await feed.take_frame(turn, Frame(message.session, message.from_, message.upto, ()), patient=patient)\n"
        "                async def late(gateway: str = turn.state.gateway) -> None:\n"
        "                    async with self._turn(gateway) as later:\n"
        '                        await later.merge([row for row in message.rows if row.site.value == "edge"])\n'
        "                task = asyncio.get_running_loop().create_task(late())\n"
        "                self._tasks[task] = None\n"
        "                task.add_done_callback(self._tasks.pop)\n",
        (FEED, MEMORY),
    ),
    Mutant(
        "cloud_answers_before_the_commit",
        "cloudsync.hub",
        f"{_MEASURED}{_ANSWER}",
        f"                for message in turn.out:\n                    self._send(gateway, message)\n{_MEASURED}",
        (FEED,),
    ),
    Mutant("cloud_cursor_goes_back", "cloudsync.feed", "max(state.cursor, frame.upto)", "frame.upto", (FEED, MEMORY)),
    Mutant(
        "cloud_position_of_another_turn",
        "cloudsync.feed",
        "        state.position = upto\n",
        "        state.position = max(state.position, turn.now_us)\n",
        (FEED, MEMORY),
    ),
    Mutant(
        "cloud_row_not_locked",
        "cloudsync.store.postgres",
        'for_update = " FOR UPDATE"',
        'for_update = ""',
        ("tests/cloudsync/store/test_lock.py",),
    ),
    # -- sessions -----------------------------------------------------------------------------------------------------
    Mutant(
        "cloud_no_session_check",
        "cloudsync.hub",
        "elif not turn.state.session or _session_of(message) != turn.state.session:",
        "elif not turn.state.session:",
        (SESSIONS,),
    ),
    Mutant("cloud_no_fence", "cloudsync.sessions", "return bool(state.run) and", "return False and", (SESSIONS,)),
    Mutant("cloud_fences_restarts", "cloudsync.sessions", "state.run not in runs and", "", (SESSIONS,)),
    Mutant(
        "cloud_fence_for_good", "cloudsync.sessions", " and abs(now_ms - state.heard_at) < LEASE_MS", "", (SESSIONS,)
    ),
    Mutant("cloud_hello_twice", "cloudsync.hub", "if is_repeated(state, hello):", "if False:", (SESSIONS,)),
    Mutant("cloud_strangers", "cloudsync.hub", "        elif not known:\n", "        elif False:\n", (SESSIONS,)),
    Mutant("cloud_strangers_welcome", "cloudsync.hub", "        if not known:\n", "        if False:\n", (SESSIONS,)),
    Mutant(
        "cloud_no_pacing",
        "cloudsync.hub",
        "wait_s) if wait_s else None",
        "wait_s) if wait_s < 0 else None",
        (SESSIONS,),
    ),
    Mutant(
        "cloud_session_outlives_a_restore",
        "cloudsync.sessions",
        "return bool(state.session) and state.session_run != state.runs[-1].id",
        "return False",
        (SESSIONS, MEMORY),
    ),
    Mutant(
        "cloud_idle_gateways_not_asked",
        "cloudsync.leases",
        "if state.session and (outlived(state) or self._run not in {run.id for run in state.runs}):",
        "if False:",
        (SESSIONS,),
    ),
    # -- restored stores ----------------------------------------------------------------------------------------------
    Mutant(
        "cloud_restore_not_noticed",
        "cloudsync.sessions",
        "(first is not None and first <= peer.top)",
        "False",
        (SESSIONS, MEMORY),
    ),
    Mutant(
        "cloud_run_met_too_early",
        "cloudsync.feed",
        "    first = begin(state, hello, session, turn.now_ms)\n",
        "    first = begin(state, hello, session, turn.now_ms)\n    meet(state, hello.standing.runs)\n",
        (SESSIONS,),
    ),
    Mutant(
        "cloud_ticks_not_skipped",
        "cloudsync.sessions",
        "state.tick = max(state.tick, peer.top)",
        "pass",
        (SESSIONS,),
    ),
    Mutant(
        "cloud_own_rows_not_restamped",
        "cloudsync.feed",
        "again=[Restamp(row, top) for row in await turn.tx.own_rows(first, top)]",
        "again=[]",
        (SESSIONS, MEMORY),
    ),
    Mutant(
        "cloud_mending_is_forgotten",
        "cloudsync.sessions",
        "state.forked = state.forked or (",
        "state.forked = (",
        (SESSIONS,),
    ),
    Mutant(
        "cloud_lacking_rows_not_restamped",
        "cloudsync.feed",
        "again=to_restamp(mine, message.rows, Site.CLOUD, state.peer.top)",
        "again=[]",
        (FEED, SESSIONS),
    ),
    Mutant(
        "cloud_sends_while_forked",
        "cloudsync.feed",
        "if not state.session or state.forked:",
        "if not state.session:",
        (SESSIONS,),
    ),
    Mutant("cloud_waiting_not_offered", "cloudsync.feed", "waiting=message.recovering", "waiting=False", (FEED,)),
    Mutant(
        "cloud_answer_without_its_end",
        "cloudsync.feed",
        "differing=frozenset(differing), upto=upto))",
        "differing=frozenset(differing)))",
        (FEED,),
    ),
    # -- the feed -----------------------------------------------------------------------------------------------------
    Mutant(
        "cloud_early_frame_applied", "cloudsync.feed", "if frame.from_ > state.cursor:", "if False:", (FEED, MEMORY)
    ),
    Mutant(
        "cloud_early_frame_not_awaited", "cloudsync.feed", "        if patient:\n            raise Early\n", "", (FEED,)
    ),
    Mutant(
        "cloud_nothing_asked_again",
        "cloudsync.feed",
        "        turn.send(Ack(state.session, state.cursor, again=True))\n",
        "",
        (FEED,),
    ),
    Mutant(
        "cloud_old_rows_taken",
        "cloudsync.feed",
        "row.site is Site.EDGE and row.slot.tick > state.cursor",
        "row.site is Site.EDGE",
        (FEED,),
    ),
    Mutant("cloud_edge_writes_our_slots", "cloudsync.feed", "if row.site is Site.EDGE and", "if", (FEED,)),
    Mutant(
        "cloud_position_kept_over_sessions",
        "cloudsync.sessions",
        "rewind(state, peer.cursor)",
        "rewind(state, state.position)",
        (FEED,),
    ),
    Mutant("cloud_no_first_frame", "cloudsync.feed", "if not rows and state.introduced:", "if not rows:", (SESSIONS,)),
    Mutant("cloud_more_than_the_window", "cloudsync.feed", "while len(state.sent) < WINDOW:", "while True:", (FEED,)),
    Mutant(
        "cloud_frame_beyond_its_rows",
        "cloudsync.feed",
        "upto = rows[-1].slot.tick if rows else state.position",
        "upto = state.position + 10**9",
        (FEED,),
    ),
    Mutant("cloud_nothing_repeated", "cloudsync.leases", "await self._hub.repeat(state.gateway)", "pass", (FEED,)),
    Mutant(
        "cloud_writers_do_not_send",
        "cloudsync.hub",
        "            yield turn\n            await feed.pump(turn, frame_rows=self._frame_rows)\n",
        "            yield turn\n",
        (FEED,),
    ),
    Mutant(
        "cloud_no_hint", "cloudsync.hub", "                self._hint(gateway)\n", "                pass\n", (FEED,)
    ),
    Mutant(
        "cloud_undocumented_not_made", "cloudsync.turn", "if known is None or (newest", "if False and (newest", (FEED,)
    ),
    # -- writing ------------------------------------------------------------------------------------------------------
    Mutant(
        "cloud_tick_from_the_clock",
        "cloudsync.turn",
        "ticker = Ticker(self.state.tick)",
        "ticker = Ticker(0)",
        (WRITING,),
    ),
    Mutant(
        "cloud_no_seen",
        "cloudsync.writing",
        "seen = known_tick(document.desired.get(name, Leaf()), Site.CLOUD)",
        "seen = 0",
        (WRITING,),
    ),
    Mutant(
        "cloud_any_version",
        "cloudsync.writing",
        "version is not None and version != document.version",
        "False",
        (WRITING,),
    ),
    Mutant(
        "cloud_any_value",
        "cloudsync.writing",
        "    if broken:\n        raise",
        "    if False:\n        raise",
        (WRITING,),
    ),
    # -- documents, commands, history ---------------------------------------------------------------------------------
    Mutant(
        "cloud_twins_of_other_gateways",
        "cloudsync.definitions",
        'if made is not None and made.spec.gateway in ("", turn.state.gateway):',
        "if made is not None:",
        (DOCUMENTS,),
    ),
    Mutant(
        "cloud_twin_outlives_its_document",
        "cloudsync.definitions",
        "            await turn.remove(TwinKey(Kind.DEVICE, ref.namespace, ref.name))\n",
        "            pass\n",
        (DOCUMENTS,),
    ),
    Mutant(
        "cloud_models_change_nothing",
        "cloudsync.definitions",
        "or _model_of(ref, row) in changed):",
        "or False):",
        (DOCUMENTS,),
    ),
    Mutant("cloud_undocumented_stay", "cloudsync.definitions", "if (key, uid) not in own:", "if False:", (DOCUMENTS,)),
    Mutant(
        "cloud_edge_not_told",
        "cloudsync.documents",
        "        if theirs.get(ref) != agreed.state:\n",
        "        if False:\n",
        (DOCUMENTS,),
    ),
    Mutant(
        "cloud_applies_without_rehearsal",
        "cloudsync.applying",
        "(True, False) if writes",
        "(False,) if writes",
        (DOCUMENTS,),
    ),
    Mutant("cloud_command_forgotten", "cloudsync.commands", "    turn.state.waiting += 1\n", "", (OTHERS,)),
    Mutant("cloud_command_ends_twice", "cloudsync.commands", "if one.command.id == done.id", "if True", (OTHERS,)),
    Mutant(
        "cloud_history_out_of_order",
        "cloudsync.history",
        'if frame.from_ == ("" if another_log else state.history_upto):',
        "if True:",
        (OTHERS,),
    ),
)
