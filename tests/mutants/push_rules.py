"""The rules of pushes, each broken on purpose."""

from tests.mutants.mutant import Mutant

RULES, QUEUES = "tests/edgehub/push/test_rules.py", "tests/twin/test_outbound.py"

PUSH_MUTANTS = (
    Mutant(
        "push_deletes_by_a_lost_place",
        "edgehub.push.home",
        "known.name == name and known.cursor <= top",
        "known.name == name",
        (RULES,),
    ),
    Mutant(
        "push_gauges_of_text",
        "edgehub.push.otel",
        "return value is None or isinstance(value, bool | float)",
        "return True or isinstance(value, bool | float)",
        (RULES,),
    ),
    Mutant(
        "push_later_takes_all",
        "edgehub.push.steps",
        "return Step(taken, aside=False, limit=limit)",
        "return Step(size, aside=False, limit=limit)",
        (RULES,),
    ),
    Mutant("push_poison_never_aside", "edgehub.push.steps", "aside=left == 1", "aside=False", (RULES,)),
    Mutant("push_poison_takes_others_along", "edgehub.push.steps", "if left <= 1:", "if left <= 2:", (RULES,)),
    Mutant("push_stays_small", "edgehub.push.steps", "min(limit * 2, most)", "limit", (RULES,)),
    Mutant(
        "push_ignores_retry_after",
        "edgehub.push.steps",
        "max(drawn_s, min(outcome.after_s, most_s))",
        "drawn_s",
        (RULES,),
    ),
    Mutant("push_unauthorized_is_poison", "edgehub.push.http_answers", "{401, 403,", "{403,", (RULES,)),
    Mutant("push_bad_request_is_mendable", "edgehub.push.http_answers", "{401, 403,", "{400, 401, 403,", (RULES,)),
    Mutant(
        "push_place_of_another",
        "edgehub.push.process",
        "known is None or known.name != name",
        "known is None",
        (RULES,),
    ),
    Mutant("push_place_beyond_the_store", "edgehub.push.process", "if known.cursor <= top:", "if True:", (RULES,)),
    Mutant("push_any_namespace", "edgehub.push.plan", "spec.key.namespace in namespaces", "True", (RULES,)),
    Mutant("push_any_labels", "edgehub.push.plan", "labels.get(name) != value", "False", (RULES,)),
    Mutant("push_of_other_gateways", "edgehub.push.plan", 'spec.gateway in ("", gateway)', "True", (RULES,)),
    Mutant(
        "queue_drops_uncounted",
        "twin.sqlite_outbound",
        "        _put_gap(db, queue, Gap(arrived_ms(first), arrived_ms(last), count, why))\n    db.execute(",
        "        pass\n    db.execute(",
        (QUEUES,),
    ),
    Mutant(
        "queue_counts_what_was_delivered", "twin.sqlite_outbound", "if first <= cursor < last:", "if False:", (QUEUES,)
    ),
    Mutant(
        "queue_without_bound",
        "twin.sqlite_outbound",
        "        return True\n    ticks = db",
        "        return False\n    ticks = db",
        (QUEUES,),
    ),
    Mutant(
        "queue_deletes_one_more",
        "twin.sqlite_outbound",
        "WHERE queue = ? AND last <= ? LIMIT 64",
        "WHERE queue = ? AND first <= ? LIMIT 64",
        (QUEUES,),
    ),
)
