"""Who may do what on the cloud's brokers. Pure.

A gateway's rules name it by its certificate (``%u``), so that they are the same for all and nothing is reread when one
joins; a user's are written out by role.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from cloudsync.identity.model import Account as Identity
from cloudsync.identity.model import AccountKind
from cloudsync.identity.roles import VERBS, Role
from twin.broker_accounts import NO_RULES_YET, Account, Rule, TopicAccess, acl_text
from twin.wire import topics

WORKER: Final = "worker"
WEB: Final = "web"
KEEPER: Final = "keeper"
"""The parent: it connects, with the client id of whoever is to go."""

_THIS: Final = "%u"


def gateway_rules(name: str = _THIS) -> tuple[Rule, ...]:
    """A gateway speaks and listens on its own topics only."""
    return (
        Rule(TopicAccess.WRITE, topics.sync_up(name)),
        Rule(TopicAccess.READ, topics.sync_down(name)),
        Rule(TopicAccess.WRITE, topics.sync_state(name)),
    )


def user_rules(name: str, role: Role) -> tuple[Rule, ...]:
    """A user asks under its own name for what its role grants, hears its own replies, and follows shadows."""
    acts = ("get",) if role is Role.VIEWER else ("get", "update", "delete")
    shadows = [topics.aws_shadow("+", shadow, act) for shadow in ("", "+") for act in acts]
    return (
        *(Rule(TopicAccess.WRITE, topics.cloud_request(verb, name)) for verb in VERBS[role]),
        Rule(TopicAccess.READ, topics.replies(name)),
        *(Rule(TopicAccess.WRITE, topic) for topic in shadows),
        Rule(TopicAccess.READ, topics.aws_shadows("+")),
    )


def worker_rules() -> tuple[Rule, ...]:
    """A worker serves every gateway and every user."""
    return (
        Rule(TopicAccess.READ, topics.ALL_SYNC_UP),
        Rule(TopicAccess.READ_WRITE, topics.ALL_SYNC_STATES),
        Rule(TopicAccess.WRITE, topics.sync_down("+")),
        Rule(TopicAccess.READ_WRITE, topics.worker("#")),
        Rule(TopicAccess.READ, topics.ALL_CLOUD_REQUESTS),
        Rule(TopicAccess.WRITE, f"{topics.ROOT}/reply/#"),
        Rule(TopicAccess.READ_WRITE, "$aws/#"),
    )


def web_rules() -> tuple[Rule, ...]:
    """The web process asks in the name of the user that it has checked."""
    return (
        Rule(TopicAccess.WRITE, topics.ALL_CLOUD_REQUESTS),
        Rule(TopicAccess.READ, f"{topics.ROOT}/reply/#"),
    )


def gateways_acl() -> str:
    """The file of the gateways' listener."""
    lines = [f"pattern {rule.access} {rule.topic_filter}\n" for rule in gateway_rules()]
    return NO_RULES_YET + "".join(lines)


def users_acl(accounts: Iterable[Identity]) -> str:
    """The file of the users' listener."""
    users = [
        Account(one.name, rules=user_rules(one.name, one.role))
        for one in accounts
        if one.kind is AccountKind.USER and one.active and one.role is not None
    ]
    return NO_RULES_YET + (acl_text(users) if users else "")
