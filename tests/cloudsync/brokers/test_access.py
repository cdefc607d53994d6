"""Who may say and hear what on the cloud's brokers: every subject with every topic, on a real Mosquitto with TLS.

The table is written by hand, not made from the code that writes the rules.
"""

import pytest

from cloudsync.brokers import WEB, WORKER
from cloudsync.identity.folder import GATEWAYS, USERS
from cloudsync.identity.roles import Role
from tests.cloudsync.mqtt5 import DENIED

VERBS = (
    "get",
    "query",
    "watch",
    "renew",
    "explain",
    "history",
    "status",
    "set",
    "set-where",
    "apply",
    "audit",
    "token",
    "x",
)
READS = ("get", "query", "watch", "renew", "explain", "history", "status")
SHADOWS = [f"$aws/things/tank/shadow/{name}" for name in ("get", "update", "delete")]
SHADOWS += [f"$aws/things/tank/shadow/name/n/{name}" for name in ("get", "update", "delete")]
SHADOW_ANSWERS = ["$aws/things/tank/shadow/update/delta", "$aws/things/tank/shadow/name/n/get/accepted"]

TOPICS = [
    *(f"et/1/sync/{gateway}/{way}" for gateway in ("gw-1", "gw-2", "me") for way in ("up", "down", "state", "x")),
    "et/1/sync/gw-1/up/x",
    "et/1/sync/up",
    *(f"et/1/api/{verb}/{who}" for verb in VERBS for who in ("me", "other")),
    "et/1/api/get",
    "et/1/api/get/me/x",
    *(f"et/1/reply/{who}/{client}" for who in ("me", "other", "gw-1") for client in ("c", "c/d")),
    "et/1/cloud/changed",
    "et/1/report/me/device/default/tank",
    "other",
    *SHADOWS,
    *SHADOW_ANSWERS,
]


def own(*verbs):
    return {f"et/1/api/{verb}/me" for verb in verbs}


REPLIES = {"et/1/reply/me/c", "et/1/reply/me/c/d"}
ALL_SHADOWS = {*SHADOWS, *SHADOW_ANSWERS}
SHADOW_GETS = {topic for topic in SHADOWS if topic.endswith("/get")}
SAYS = {
    "gw-1": {"et/1/sync/gw-1/up", "et/1/sync/gw-1/state"},
    Role.VIEWER: own(*READS) | SHADOW_GETS,
    Role.OPERATOR: own(*READS, "set", "set-where") | set(SHADOWS),
    Role.ADMIN: own(*READS, "set", "set-where", "apply", "audit") | set(SHADOWS),
}
HEARS = {
    "gw-1": {"et/1/sync/gw-1/down"},
    Role.VIEWER: REPLIES | ALL_SHADOWS,
    Role.OPERATOR: REPLIES | ALL_SHADOWS,
    Role.ADMIN: REPLIES | ALL_SHADOWS,
}


async def said_and_heard(client, probe):
    """What of the topics this client may publish to, and what reaches it of each."""
    said = {topic for topic in TOPICS if await client.publish(topic) != DENIED}
    for topic_filter in ("#", "$aws/#", *TOPICS):
        await client.subscribe(topic_filter)
    client.messages.clear()
    for topic in TOPICS:
        await probe.publish(topic)
    await client.publish("other")  # its answer comes after what was queued before
    return said, set(client.messages)


async def test_a_gateway_uses_its_own_topics_only(brokers):
    await brokers.join("gw-1")
    async with await brokers.gateway("gw-1") as client, await brokers.probe(GATEWAYS) as probe:
        said, heard = await said_and_heard(client, probe)
    assert said == SAYS["gw-1"]
    assert heard == HEARS["gw-1"]


@pytest.mark.parametrize("role", list(Role))
async def test_a_user_asks_for_what_its_role_grants(brokers, role):
    await brokers.user("me", role)
    await brokers.user("other", Role.ADMIN)
    await brokers.known()
    async with await brokers.app("me") as client, await brokers.probe(USERS) as probe:
        said, heard = await said_and_heard(client, probe)
    assert said == SAYS[role]
    assert heard == HEARS[role]


async def test_a_user_that_nobody_knows_uses_no_topic(brokers):
    pair, _ = brokers.signed(USERS, "me")
    async with await brokers.connect(USERS, pair, "x") as client, await brokers.probe(USERS) as probe:
        assert await said_and_heard(client, probe) == (set(), set())


async def test_a_worker_hears_the_gateways_and_does_not_speak_for_them(brokers):
    login = brokers.gateways.login(WORKER)
    async with (
        await brokers.inner(GATEWAYS, (WORKER, login.password), "w") as client,
        await brokers.probe(GATEWAYS) as probe,
    ):
        assert await client.publish("et/1/sync/gw-1/down") != DENIED
        assert await client.publish("et/1/sync/gw-1/up") == DENIED
        await client.subscribe("$share/cloud/et/1/sync/+/up")
        await client.subscribe("et/1/cloud/#")
        for topic in ("et/1/sync/gw-1/up", "et/1/sync/gw-1/down", "et/1/cloud/changed"):
            await probe.publish(topic)
        await client.publish("et/1/cloud/end")
        assert client.messages == ["et/1/sync/gw-1/up", "et/1/cloud/changed", "et/1/cloud/end"]


async def test_the_web_process_asks_for_users_and_hears_their_replies_only(brokers):
    login = brokers.apps.login(WEB)
    async with await brokers.inner(USERS, (WEB, login.password), "w") as client, await brokers.probe(USERS) as probe:
        said, heard = await said_and_heard(client, probe)
    assert said == {topic for topic in TOPICS if topic.startswith("et/1/api/") and topic.count("/") == 4}
    assert heard == {topic for topic in TOPICS if topic.startswith("et/1/reply/")}
