"""Who may do what on the local broker. Pure; passwords are drawn anew at each start."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from edgehub.mosquitto_conf import Account, Rule, TopicAccess
from twin.dialects.aws_names import Things
from twin.model import DEFAULT_NAMESPACE, Kind, TwinKey
from twin.wire import topics

HUB: Final = "hub"
CLI: Final = "cli"
MAPPER: Final = "mapper"


def client_account(name: str, password: str) -> Account:
    """A program that asks the API, and sees nothing but its own replies."""
    return Account(name, password, _api_rules(name))


def program_account(name: str, hashed: str, devices: Iterable[TwinKey], things: Things | None = None) -> Account:
    """A program of the user's: the API, reports and deltas of the named devices only, and the dialects' topics of them.

    Without ``things`` AWS's topics are not served.
    """
    rules = [*_api_rules(name), Rule(TopicAccess.READ, topics.ack(name))]
    rules += [Rule(TopicAccess.WRITE, topic) for topic in topics.kubeedge_membership_writes()]
    rules += [Rule(TopicAccess.READ, topic) for topic in topics.kubeedge_membership_answers()]
    for key in devices:
        rules.append(Rule(TopicAccess.WRITE, topics.report(name, key)))
        rules.append(Rule(TopicAccess.READ, topics.delta(key)))
        rules += kubeedge_rules(key)
        if things is not None and key.kind is Kind.DEVICE:
            rules += aws_rules(things.thing(key))
    return Account(name, rules=tuple(rules), hashed=hashed, outside=True)


def mapper_account(name: str, password: str) -> Account:
    """A mapper host of ours: it reports under its own name, learns every delta, and nothing else."""
    return Account(
        name,
        password,
        (
            *(Rule(TopicAccess.WRITE, topics.reports_of(reporter)) for reporter in _reporters(name)),
            *(Rule(TopicAccess.READ, topics.ack(reporter)) for reporter in _reporters(name)),
            Rule(TopicAccess.READ, topics.ALL_DELTAS),
            Rule(TopicAccess.READ, topics.mapper_config(name)),
            Rule(TopicAccess.WRITE, topics.mapper_state(name)),
        ),
    )


def kubeedge_rules(key: TwinKey) -> list[Rule]:
    """What a program may say and hear about one device on KubeEdge's topics."""
    forms = [f"{key.namespace}/{key.name}", *([key.name] if key.namespace == DEFAULT_NAMESPACE else [])]
    return [
        rule
        for form in forms
        for rule in (
            *(Rule(TopicAccess.WRITE, topic) for topic in topics.kubeedge_writes(form)),
            *(Rule(TopicAccess.READ, topic) for topic in topics.kubeedge_answers(form)),
        )
    ]


def aws_rules(thing: str) -> list[Rule]:
    """What a program may ask of one thing's shadows, and hear of them; answers are the hub's to give."""
    asking = [Rule(TopicAccess.WRITE, topic) for topic in topics.aws_requests(thing)]
    return [*asking, Rule(TopicAccess.READ, topics.aws_shadows(thing))]


def _reporters(name: str) -> tuple[str, str]:
    return name, topics.simulated_reporter(name)


def _api_rules(name: str) -> tuple[Rule, ...]:
    return (Rule(TopicAccess.WRITE, topics.ALL_REQUESTS), Rule(TopicAccess.READ, topics.replies(name)))
