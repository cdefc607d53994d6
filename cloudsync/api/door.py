"""Where the cloud's requests come in: the topic says who asks, for the broker lets an account write its own only."""

from __future__ import annotations

from collections.abc import Callable

from cloudsync.identity.roles import Role, may
from twin.api import Caller, Door
from twin.errors import InvalidName, NotAllowed
from twin.link import Message
from twin.wire import topics
from twin.wire.api import Verb

OWN_TOPIC = frozenset({Verb.RENEW})
"""Verbs that every worker hears; all others reach one worker each."""


def shared_filters() -> tuple[str, ...]:
    """One filter a verb, none of which meets another: a message that fits two would come twice."""
    return tuple(topics.SHARED + topics.cloud_request(verb, "+") for verb in Verb if verb not in OWN_TOPIC)


def cloud_door(role_of: Callable[[str], Role | None], denied: Callable[[str, str], None]) -> Door:
    """Requests of accounts whose role may ask them; ``denied`` is told of account and verb otherwise."""

    def caller(message: Message) -> Caller:
        asked = topics.parse_cloud_request(message.topic)
        if message.response_topic.split("/")[3] != asked.account:  # it would have us talk to somebody else
            raise InvalidName(what="response topic", text=message.response_topic, rule=topics.replies(asked.account))
        role = role_of(asked.account)
        if role is None or not may(role, asked.verb):
            denied(asked.account, asked.verb)
            text = f"account {asked.account} may not ask for {asked.verb}"
            remedy = "An admin gives roles: `edgetwin cloud user add NAME --role operator`."
            raise NotAllowed(f"{text}: " + (f"it is {role}" if role else "it is not known, or revoked"), remedy=remedy)
        return Caller(asked.account, message.response_topic, message.correlation)

    return Door(shared_filters(), caller)
