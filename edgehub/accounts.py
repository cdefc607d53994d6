"""Who may do what on the local broker. Pure; passwords are drawn anew at each start."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from edgehub.mosquitto_conf import Account, Rule, TopicAccess
from twin.model import TwinKey
from twin.wire import topics

HUB: Final = "hub"
CLI: Final = "cli"
MAPPER: Final = "mapper"


def client_account(name: str, password: str) -> Account:
    """A program that asks the API, and sees nothing but its own replies."""
    return Account(name, password, _api_rules(name))


def program_account(name: str, hashed: str, devices: Iterable[TwinKey]) -> Account:
    """A program of the user's: the API, and reports and deltas of the named devices only."""
    rules = [*_api_rules(name), Rule(TopicAccess.READ, topics.ack(name))]
    for key in devices:
        rules.append(Rule(TopicAccess.WRITE, topics.report(name, key)))
        rules.append(Rule(TopicAccess.READ, topics.delta(key)))
    return Account(name, rules=tuple(rules), hashed=hashed)


def mapper_account(name: str, password: str) -> Account:
    """A mapper host of ours: it reports under its own name, learns every delta, and nothing else."""
    return Account(
        name,
        password,
        (
            Rule(TopicAccess.WRITE, topics.reports_of(name)),
            Rule(TopicAccess.READ, topics.ack(name)),
            Rule(TopicAccess.READ, topics.ALL_DELTAS),
            Rule(TopicAccess.READ, topics.mapper_config(name)),
            Rule(TopicAccess.WRITE, topics.mapper_state(name)),
        ),
    )


def _api_rules(name: str) -> tuple[Rule, ...]:
    return (Rule(TopicAccess.WRITE, topics.ALL_REQUESTS), Rule(TopicAccess.READ, topics.replies(name)))
