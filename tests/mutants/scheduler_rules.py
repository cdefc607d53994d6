"""The rules of the cloud's scheduler, each broken on purpose; see rules.py."""

from tests.mutants.mutant import Mutant

TESTS = tuple(f"tests/cloudsync/scheduler/test_{name}.py" for name in ("plan", "rules"))
PLAN, ROOM = "cloudsync.scheduler.plan", "cloudsync.scheduler.room"

SCHEDULER_MUTANTS = (
    Mutant("kept_pods_move", PLAN, "if not pod.cut_off.moves or gateway.online", "if gateway.online", TESTS),
    Mutant("pods_move_at_once", PLAN, "if gateway.silent_ms < pod.cut_off.after_ms:", "if False:", TESTS),
    Mutant(
        "a_former_gateway_is_not_waited_for",
        PLAN,
        "if stay is None and waits:\n",
        "waits = []\n            if stay is None and waits:\n",
        TESTS,
    ),
    Mutant(
        "over_before_the_gateway_knows",
        PLAN,
        "placed.removed and gateway is not None and gateway.agreed:",
        "placed.removed:",
        TESTS,
    ),
    Mutant("forgotten_before_its_grace_is_over", PLAN, "and self._now >= ends_at:", "and True:", TESTS),
    Mutant(
        "named_gateways_do_not_count", PLAN, "if pod.needs.node not in (", "if False and pod.needs.node not in (", TESTS
    ),
    Mutant("memory_without_end", ROOM, "self.memory_bytes + asked > gateway.memory_bytes", "False", TESTS),
    Mutant("as_many_pods_as_you_like", ROOM, "if self.pods >= gateway.pods:", "if False:", TESTS),
    Mutant("ports_are_shared", ROOM, "if not self.ports.isdisjoint(needs.ports):", "if False:", TESTS),
    Mutant("taints_ignored", ROOM, "and not needs.tolerates(taint):", "and False:", TESTS),
    Mutant("no_spread", ROOM, "return room.owners[owner] if owner else 0, soft", "return 0, soft", TESTS),
)
