"""get, set, query, explain, history, status and audit in the cloud."""

import asyncio

import pytest

from tests.cloudsync.api.conftest import tank, until
from twin.errors import (
    CommandEnded,
    HistoryOff,
    InvalidMessage,
    InvalidName,
    InvalidQuery,
    InvalidValue,
    NotAllowed,
    RequestTimeout,
    UnknownProperty,
    UnknownTwin,
    VersionMismatch,
)
from twin.exchange import Command, CommandDone, Outcome
from twin.wire import topics
from twin.wire.api import HistoryRequest
from twin.wire.cloud_api import AuditRequest


async def test_a_twin_is_shown_with_what_its_gateway_reported(cloud, client_of):
    await cloud.define(tank(), labels=[("area", "hall-2")])
    await cloud.report(tank(), level=42.5)
    body = await (await client_of("vic")).get("plant/tank")
    assert (body.twin, body.gateway, body.labels) == ("device/plant/tank", "gw-1", {"area": "hall-2"})
    assert (body.reported["level"].value, body.reported["level"].unit) == (42.5, "%")


async def test_twins_are_listed_page_by_page_and_by_gateway(cloud, client_of):
    for number in range(250):
        await cloud.define(tank(f"t{number:03}"), gateway=f"gw-{number % 2}")
    client = await client_of("vic")
    assert [one.twin async for one in client.list()] == [f"device/plant/t{number:03}" for number in range(250)]
    assert len([one async for one in client.list(gateway="gw-1")]) == 125
    assert [one async for one in client.list(namespace="other")] == []


async def test_a_desired_value_is_on_disk_for_every_worker_and_on_its_way_to_the_gateway(cloud, client_of):
    await cloud.define(tank())
    client = await client_of("ann")
    version = await client.set("plant/tank", {"valve": 40})
    body = await client.get("plant/tank")
    assert (body.version, body.desired["valve"].value, body.desired["valve"].by) == (version, 40, "ann")
    assert body.delta == {"valve": 40}


@pytest.mark.parametrize(
    ("desired", "unset", "version", "error"),
    [
        ({"valve": 101}, [], None, InvalidValue),
        ({"level": 1.0}, [], None, InvalidValue),
        ({"nothing": 1}, [], None, UnknownProperty),
        ({"valve": 1}, [], 99, VersionMismatch),
        ({}, [], None, InvalidMessage),
        ({}, ["valve"], None, InvalidValue),
    ],
)
async def test_what_the_model_does_not_allow_changes_nothing(cloud, client_of, desired, unset, version, error):
    await cloud.define(tank())
    client = await client_of("ann")
    before = await client.get("plant/tank")
    with pytest.raises(error) as caught:
        await client.set("plant/tank", desired, unset=unset, version=version)
    assert caught.value.remedy
    assert await client.get("plant/tank") == before


async def test_a_version_that_fits_lets_the_write_pass(cloud, client_of):
    await cloud.define(tank())
    client = await client_of("ann")
    version = await client.set("plant/tank", {"valve": 1})
    assert await client.set("plant/tank", {"valve": 2}, version=version) == version + 1


@pytest.mark.parametrize("twin", ["plant/nothing", "pod/plant/tank"])
async def test_a_twin_that_is_not_there_is_said_not_to_be(cloud, client_of, twin):
    await cloud.define(tank())
    client = await client_of("ann")
    with pytest.raises(UnknownTwin):
        await client.get(twin)
    with pytest.raises(UnknownTwin):
        await client.set(twin, {"valve": 1})


async def test_a_name_outside_the_grammar_is_refused(client_of):
    with pytest.raises(InvalidName):
        await (await client_of("vic")).get("plant/+")


async def test_a_query_sees_a_write_that_was_just_acknowledged(cloud, client_of):
    for number in range(3):
        await cloud.define(tank(f"t{number}"), labels=[("area", f"hall-{number}")])
    client = await client_of("ann")
    for value in range(5):
        await client.set("plant/t1", {"valve": value})
        found = await client.query("SELECT name, desired.valve FROM twins WHERE tags.area = 'hall-1'")
        assert found.rows == [["t1", value]]


async def test_a_query_outside_the_subset_is_refused_with_its_place(client_of):
    with pytest.raises(InvalidQuery, match="line 1"):
        await (await client_of("vic")).query("SELECT name FROM twins; DROP TABLE leaf")


async def test_explain_says_who_wrote_and_what_a_property_may_be(cloud, client_of):
    await cloud.define(tank())
    client = await client_of("ann")
    await client.set("plant/tank", {"valve": 7})
    said = await client.explain("plant/tank", "valve")
    assert (said.winner, said.slots[0].by, said.pending) == ("cloud", "ann", True)
    with pytest.raises(UnknownProperty):
        await client.explain("plant/tank", "nothing")


async def test_history_that_nobody_keeps_says_how_to_keep_it(cloud, client_of):
    await cloud.define(tank())
    client = await client_of("vic")
    with pytest.raises(HistoryOff, match="keeps no history"):
        await client.history(HistoryRequest(twin="plant/tank", property="level"))
    with pytest.raises(UnknownProperty):
        await client.history(HistoryRequest(twin="plant/tank", property="nothing"))


async def test_status_lists_gateways_page_by_page(cloud, client_of):
    for number in range(5):
        await cloud.define(tank(f"t{number}"), gateway=f"gw-{number}")
    client = await client_of("vic")
    first = await client.cloud_status(limit=3)
    rest = await client.cloud_status(limit=3, after=first.after)
    assert [one.gateway for one in (*first.gateways, *rest.gateways)] == [f"gw-{number}" for number in range(5)]
    assert (first.after, rest.after) == ("gw-2", "")
    assert [one.gateway for one in (await client.cloud_status(gateway="gw-3")).gateways] == ["gw-3"]


# -- who may what ------------------------------------------------------------------------------------------------


async def test_a_viewer_changes_nothing_and_the_denial_is_in_the_audit_log(cloud, client_of):
    await cloud.define(tank())
    with pytest.raises(NotAllowed, match="vic may not ask for set: it is viewer"):
        await (await client_of("vic")).set("plant/tank", {"valve": 1})
    root = await client_of("root")
    found = await until(lambda: _entries(root, "vic"))
    assert [(one.action, one.outcome) for one in found] == [("set", "denied")]


async def test_an_account_that_is_not_known_is_told_so(client_of):
    with pytest.raises(NotAllowed, match="not known, or revoked"):
        await (await client_of("mallory")).get("plant/tank")


async def test_every_change_is_in_the_audit_log_with_its_account(cloud, client_of):
    await cloud.define(tank())
    ann, root = await client_of("ann"), await client_of("root")
    await ann.set("plant/tank", {"valve": 40})
    await root.set("plant/tank", {"valve": 41})
    found = (await root.audit(AuditRequest())).entries
    assert [(one.account, one.action, one.subject, one.what) for one in found] == [
        ("ann", "set", "device/plant/tank", "valve=40"),
        ("root", "set", "device/plant/tank", "valve=41"),
    ]
    with pytest.raises(NotAllowed):
        await ann.audit(AuditRequest())


async def test_nobody_is_answered_in_the_name_of_another(cloud):
    await cloud.define(tank())
    async with cloud.broker.link() as link:
        await link.connected(5)
        heard = []
        await link.subscribe(topics.replies("root"), heard.append)
        link.publish(
            topics.cloud_request("audit", "vic"),
            b"{}",
            qos=1,
            response_topic=topics.reply("root", "1"),
            correlation=b"1",
        )
        link.publish(
            topics.cloud_request("get", "root"),
            b'{"twin": "plant/tank"}',
            qos=1,
            response_topic=topics.reply("root", "1"),
            correlation=b"2",
        )
        await until(lambda: _now(heard))
    assert [message.correlation for message in heard] == [b"2"]


# -- commands ----------------------------------------------------------------------------------------------------


async def _gateway_ends(cloud, done):
    """What the gateway would say to the first command that it gets."""
    from cloudsync.commands import take_done

    async with asyncio.timeout(5):
        while not (found := [one for _, one in cloud.sent if isinstance(one, Command)]):
            await asyncio.sleep(0.01)
            async with cloud.hubs[0].change("gw-1") as turn:
                waiting = [one.command for one in await turn.tx.commands()]
            cloud.sent += [("gw-1", one) for one in waiting]
        async with cloud.hubs[1].change("gw-1") as turn:
            await take_done(turn, CommandDone("", found[0].id, *done))
    return found[0]


async def test_a_command_is_answered_when_its_gateway_has_carried_it_out(cloud, client_of):
    await cloud.define(tank())
    client = await client_of("ann")
    asked = asyncio.create_task(client.command("plant/tank", {"valve": 5}, expires_s=4))
    command = await _gateway_ends(cloud, (Outcome.DONE,))
    assert await asked == command.id
    assert (dict(command.desired), command.by) == ({"valve": 5}, "ann")
    assert (await client.get("plant/tank")).desired == {}  # nothing is left behind in the cloud


@pytest.mark.parametrize(
    ("done", "text"),
    [
        ((Outcome.EXPIRED,), "had expired"),
        ((Outcome.REFUSED, "invalid_value", "valve: it is stuck", "Free it."), "it is stuck"),
    ],
)
async def test_a_command_that_was_not_carried_out_says_why(cloud, client_of, done, text):
    await cloud.define(tank())
    client = await client_of("ann")
    asked = asyncio.create_task(client.command("plant/tank", {"valve": 5}, expires_s=4))
    await _gateway_ends(cloud, done)
    with pytest.raises(CommandEnded, match=text):
        await asked


async def test_a_command_to_a_gateway_that_is_away_ends_after_its_expiry(cloud, client_of):
    await cloud.define(tank())
    with pytest.raises((CommandEnded, RequestTimeout), match="has not said"):
        await (await client_of("ann")).command("plant/tank", {"valve": 5}, expires_s=0.1)


async def test_a_command_that_the_model_refuses_is_not_sent(cloud, client_of):
    await cloud.define(tank())
    with pytest.raises(InvalidValue):
        await (await client_of("ann")).command("plant/tank", {"valve": 500}, expires_s=5)
    assert cloud.sent == []


async def _entries(client, account):
    return (await client.audit(AuditRequest(account=account))).entries


async def _now(value):
    return value
