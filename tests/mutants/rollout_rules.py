"""The rules of rollouts, each broken on purpose; see rules.py."""

from tests.mutants.mutant import Mutant

TESTS = ("tests/cloudsync/rollout/test_plan.py",)
PLAN = "cloudsync.rollout.plan"

ROLLOUT_MUTANTS = (
    Mutant("percent_rounded_down", PLAN, "math.ceil(total * one / 100)", "total * one // 100", TESTS),
    Mutant("who_is_away_comes_first", PLAN, "(not gateways[name], ", "(gateways[name], ", TESTS),
    Mutant("failures_stop_nothing", PLAN, "if len(failed) >= rollout.stop_on:", "if False:", TESTS),
    Mutant("one_failure_more", PLAN, "len(failed) >= rollout.stop_on", "len(failed) > rollout.stop_on", TESTS),
    Mutant("no_soak", PLAN, "return now - place.at < rollout.soak_ms", "return False", TESTS),
    Mutant("waves_do_not_wait", PLAN, "and (seen.online or place.began)", "and False", TESTS),
    Mutant("who_is_away_holds_up_all", PLAN, "and (seen.online or place.began)", "and True", TESTS),
    Mutant(
        "who_begins_and_goes_is_away", PLAN, "if not seen.online and not place.began:", "if not seen.online:", TESTS
    ),
    Mutant("nobody_healthy_is_fine", PLAN, "if latest and not any(", "if False and not any(", TESTS),
    Mutant("healthy_on_any_version", PLAN, "and said.version == rollout.release.version:", "and True:", TESTS),
    Mutant("reports_of_other_orders_count", PLAN, "and seen.report.order == rollout.id else None", "else None", TESTS),
    Mutant("never_late", PLAN, "> rollout.limit_ms:", "> rollout.limit_ms * 10**6:", TESTS),
    Mutant("late_by_a_time_nobody_listened", PLAN, "max(place.at, listening)", "place.at", TESTS),
    Mutant("orders_of_others_are_written_over", PLAN, "if not ours and place.written:", "if False:", TESTS),
    Mutant("an_order_is_written_once", PLAN, "written=place.written or ours", "written=True", TESTS),
    Mutant("an_end_takes_nothing_back", PLAN, "and ours and _may_withdraw(", "and False and _may_withdraw(", TESTS),
    Mutant("what_is_tried_is_taken_back", PLAN, "said.state not in _UNTOUCHABLE", "True", TESTS),
    Mutant("a_pause_pauses_nothing", PLAN, "if rollout.phase is Phase.RUNNING:", "if not rollout.phase.over:", TESTS),
    Mutant(
        "over_is_not_over", PLAN, "    if rollout.phase.over:\n        message", "    if False:\n        message", TESTS
    ),
    Mutant("nobody_looks_after_an_end", PLAN, "return quiet_ms >= AFTER_MS and", "return", TESTS),
    Mutant(
        "the_gone_are_waited_for", PLAN, "if one.wave <= wave and one.gateway in seen]", "if one.wave <= wave]", TESTS
    ),
)
