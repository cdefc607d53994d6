"""Revocation on a real Mosquitto: the live session ends, the next one is refused, everybody else stays."""

import asyncio
import os
import signal
import time

import pytest

from cloudsync.identity.folder import GATEWAYS, USERS
from cloudsync.identity.model import AccountKind
from cloudsync.identity.roles import Role
from tests.cloudsync.mqtt5 import DENIED, Refused

WITHIN_S = 5.0


async def comes_back(brokers, kind, name):
    """Try as a client does that is never tired; whether it is refused for good."""
    for _ in range(10):
        try:
            client = await brokers.connect(kind, brokers.pairs[name], "again")
        except Refused:
            return False
        await client.close()
        await asyncio.sleep(0.05)
    return True


async def test_a_revoked_gateway_is_cut_off_while_it_speaks(brokers):
    for name in ("gw-1", "gw-2"):
        await brokers.join(name)
    await brokers.known()
    async with await brokers.gateway("gw-1") as bad, await brokers.gateway("gw-2") as good:
        assert await bad.publish("et/1/sync/gw-1/up") < 0x80
        began_s = time.monotonic()
        await brokers.identities.revoke("gw-1", AccountKind.GATEWAY, by="test")
        assert await bad.until_ended(WITHIN_S) is not None
        assert time.monotonic() - began_s < WITHIN_S
        assert not await comes_back(brokers, GATEWAYS, "gw-1")
        assert await good.publish("et/1/sync/gw-2/up") < 0x80
        assert good.ended is None


async def test_all_clients_of_a_revoked_user_are_cut_off_and_those_of_others_stay(brokers):
    for name in ("anna", "bert"):
        await brokers.user(name, Role.OPERATOR)
    await brokers.known()
    mine = [await brokers.app("anna", client_id) for client_id in ("phone", "desk top", "x (p5, c1, k60, u'bert').")]
    async with await brokers.app("bert", "phone of bert") as other:
        await brokers.identities.revoke("anna", AccountKind.USER, by="test")
        for client in mine:
            assert await client.until_ended(WITHIN_S) is not None
            await client.close()
        assert not await comes_back(brokers, USERS, "anna")
        assert await other.publish("et/1/api/get/bert") < 0x80
        assert other.ended is None


async def test_a_gateway_that_is_replaced_loses_its_session(brokers):
    await brokers.join("gw-1")
    await brokers.known()
    old = dict(brokers.pairs)
    async with await brokers.gateway("gw-1") as first:
        await brokers.join("gw-1")
        assert await first.until_ended(WITHIN_S) is not None
    with pytest.raises(Refused):
        await brokers.connect(GATEWAYS, old["gw-1"])
    async with await brokers.gateway("gw-1") as second:
        assert await second.publish("et/1/sync/gw-1/up") < 0x80


async def test_a_user_that_gets_another_role_loses_the_old_rights(brokers):
    await brokers.user("anna", Role.ADMIN)
    await brokers.known()
    async with await brokers.app("anna") as admin:
        made = await brokers.identities.add_user("anna", Role.VIEWER, by="test", replace=True)
        brokers.pairs["anna"] = made.certificate + made.key
        assert await admin.until_ended(WITHIN_S) is not None
    async with await brokers.app("anna") as viewer:
        assert await viewer.publish("et/1/api/set/anna") == DENIED
        assert await viewer.publish("et/1/api/get/anna") < 0x80


async def test_a_broker_that_was_killed_still_knows_who_is_revoked(brokers):
    await brokers.join("gw-1")
    await brokers.join("gw-2")
    await brokers.identities.revoke("gw-1", AccountKind.GATEWAY, by="test")
    await brokers.known()
    os.kill(brokers.gateways._runner.pid, signal.SIGKILL)
    async with asyncio.timeout(10):
        while True:
            try:
                async with await brokers.gateway("gw-2"):
                    break
            except Refused:
                await asyncio.sleep(0.05)
    with pytest.raises(Refused):
        await brokers.gateway("gw-1")


async def test_a_store_that_does_not_answer_changes_nobodys_rights(brokers, monkeypatch):
    from twin.errors import StoreError

    await brokers.join("gw-1")
    await brokers.known()

    async def fail(_):
        raise StoreError("no database")

    monkeypatch.setattr(brokers.directory._store, "changes", fail)
    async with asyncio.timeout(5):
        while not brokers.directory.failing:  # noqa: ASYNC110 it looks by itself, and tells nobody
            await asyncio.sleep(0.05)
    async with await brokers.gateway("gw-1") as client:
        assert await client.publish("et/1/sync/gw-1/up") < 0x80
    monkeypatch.undo()
    async with asyncio.timeout(5):
        while brokers.directory.failing:  # noqa: ASYNC110 the same
            await asyncio.sleep(0.05)
