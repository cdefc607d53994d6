"""Who may do what on the local broker. Pure; passwords are drawn anew at each start."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from twin.broker_accounts import Account, Rule, TopicAccess
from twin.dialects.aws_names import Things
from twin.model import DEFAULT_NAMESPACE, Kind, TwinKey
from twin.wire import topics
from twin.wire.api import Verb

HUB: Final = "hub"
CLI: Final = "cli"
WEB: Final = "web"
MAPPER: Final = "mapper"
PLUGIN_PREFIX: Final = "mapper."
"""Begins the account of each mapper that is not ours."""

_OF_THE_PAGE: Final = (Verb.GET, Verb.WATCH, Verb.SET, Verb.EXPLAIN, Verb.HISTORY, Verb.STATUS, Verb.MESH)
_MOST_PLUGIN_CHARS: Final = 45  # so that the name of its simulated reporter is a name too


@dataclass(frozen=True, slots=True)
class DialectNames:
    """What devices are called on other people's topics."""

    kubeedge: tuple[tuple[str, TwinKey], ...] = ()
    """Names on KubeEdge's topics besides the device's own."""
    things: Things | None = None
    """On AWS's topics; None if those are not served."""

    def in_kubeedge(self, key: TwinKey) -> list[str]:
        """Every name of a device on KubeEdge's topics."""
        own = [f"{key.namespace}/{key.name}", *([key.name] if key.namespace == DEFAULT_NAMESPACE else [])]
        return own + [name for name, named in self.kubeedge if named == key]


def client_account(name: str, password: str) -> Account:
    """A program that asks the API, and sees nothing but its own replies and the alerts of the mesh."""
    return Account(name, password, _api_rules(name))


def page_account(name: str, password: str) -> Account:
    """The dashboard: what it shows and sets, and no documents, which could have programs run."""
    asking = (Rule(TopicAccess.WRITE, topics.request(verb)) for verb in _OF_THE_PAGE)
    return Account(name, password, (*asking, Rule(TopicAccess.READ, topics.replies(name))))


def program_account(name: str, hashed: str, devices: Iterable[TwinKey], names: DialectNames) -> Account:
    """A program of the user's: the API, reports and deltas of its devices only, and the dialects' topics of them."""
    rules = [*_api_rules(name), Rule(TopicAccess.READ, topics.ack(name))]
    rules += [Rule(TopicAccess.WRITE, topic) for topic in topics.kubeedge_membership_writes()]
    rules += [Rule(TopicAccess.READ, topic) for topic in topics.kubeedge_membership_answers()]
    for key in devices:
        rules.append(Rule(TopicAccess.WRITE, topics.report(name, key)))
        rules.append(Rule(TopicAccess.READ, topics.delta(key)))
        rules += kubeedge_rules(key, names)
        if names.things is not None and key.kind is Kind.DEVICE:
            rules += aws_rules(names.things.thing(key))
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


def plugin_account(name: str, password: str, twins: Iterable[TwinKey]) -> Account:
    """A process of a mapper that is not ours: the twins that its documents give it, and no topic else."""
    rules = [Rule(TopicAccess.READ, topics.ack(reporter)) for reporter in _reporters(name)]
    rules += [Rule(TopicAccess.READ, topics.mapper_config(name)), Rule(TopicAccess.WRITE, topics.mapper_state(name))]
    for key in twins:
        rules += [Rule(TopicAccess.WRITE, topics.report(reporter, key)) for reporter in _reporters(name)]
        if key.kind is Kind.DEVICE:
            rules.append(Rule(TopicAccess.READ, topics.delta(key)))
    return Account(name, password, tuple(rules))


def peer_account(gateway: str, own: str) -> Account:
    """Another gateway, which comes by certificate: it hears what this one tells its peers, and says nothing."""
    return Account(gateway, rules=(Rule(TopicAccess.READ, topics.mesh_of(own)),), outside=True)


def plugin_name(mapper: str) -> str:
    """The account of a mapper that is not ours; a long name is cut, with a digest of the whole."""
    if len(mapper) > _MOST_PLUGIN_CHARS:
        digest = hashlib.sha256(mapper.encode()).hexdigest()[:8]
        mapper = f"{mapper[: _MOST_PLUGIN_CHARS - 9].rstrip('.-')}-{digest}"
    return PLUGIN_PREFIX + mapper


def kubeedge_rules(key: TwinKey, names: DialectNames) -> list[Rule]:
    """What a program may say and hear about one device on KubeEdge's topics."""
    return [
        rule
        for form in names.in_kubeedge(key)
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
    return (
        Rule(TopicAccess.WRITE, topics.ALL_REQUESTS),
        Rule(TopicAccess.READ, topics.replies(name)),
        Rule(TopicAccess.READ, topics.ALL_ALERTS),
    )
