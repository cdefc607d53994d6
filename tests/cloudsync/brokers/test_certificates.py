"""Each way to come to the cloud's brokers with a certificate that is not good, on a real Mosquitto with TLS."""

import asyncio
import ssl
import time

import pytest

from cloudsync.identity.ca import Authority
from cloudsync.identity.folder import GATEWAYS, USERS
from cloudsync.identity.model import AccountKind
from cloudsync.identity.roles import Role
from cloudsync.server_certificate import RENEWED_DAYS, SERVER_DAYS, keep_server_certificate
from tests.cloudsync.mqtt5 import DENIED, Client, Refused, tls
from twin.certificates import new_key, request

DAY_MS = 24 * 3600 * 1000
NAMES = {GATEWAYS: "gw-1", USERS: "anna"}


def now():
    return int(time.time() * 1000)


def stranger(kind, name):
    """An authority of the same name as ours, with a key of its own."""
    key = new_key()
    return Authority.create(kind, now()).issue(request(key, name), name, now=now(), days=1)[0] + key


def self_signed(name):
    authority = Authority.create(name, now())
    return authority.certificate + authority.key


def servers_own(brokers, _kind, _name):
    certificate, key = brokers.folder.authority(GATEWAYS).issue_server(["gw-1"], now=now(), days=1)
    return certificate + key


BAD = {
    "no certificate": lambda brokers, kind, name: None,
    "another CA": lambda brokers, kind, name: stranger(kind, name),
    "signed by itself": lambda brokers, kind, name: self_signed(name),
    "the other authority": lambda brokers, kind, name: brokers.signed(USERS if kind == GATEWAYS else GATEWAYS, name)[0],
    "expired": lambda brokers, kind, name: brokers.signed(kind, name, days=1, now=now() - 2 * DAY_MS)[0],
    "not valid yet": lambda brokers, kind, name: brokers.signed(kind, name, now=now() + 2 * DAY_MS)[0],
    "a server's": servers_own,
}


@pytest.mark.parametrize("kind", [GATEWAYS, USERS])
async def test_no_certificate_that_is_not_good_comes_in(brokers, kind):
    for what, make in BAD.items():
        with pytest.raises(Refused) as caught:
            await (await brokers.connect(kind, make(brokers, kind, NAMES[kind]), "x")).publish("a")
        assert caught.value.code is None, what
    async with await brokers.connect(kind, brokers.signed(kind, NAMES[kind])[0], "x"):
        pass


async def test_a_revoked_certificate_is_refused_and_one_that_is_not_stays(brokers):
    await brokers.join("gw-1")
    await brokers.join("gw-2")
    await brokers.user("anna", Role.ADMIN)
    await brokers.known()
    async with await brokers.gateway("gw-2") as other:
        await brokers.identities.revoke("gw-1", AccountKind.GATEWAY, by="test")
        await brokers.identities.revoke("anna", AccountKind.USER, by="test")
        await brokers.known()
        for kind, name in NAMES.items():
            with pytest.raises(Refused) as caught:
                await brokers.connect(kind, brokers.pairs[name], "x")
            assert caught.value.code is None
        assert other.ended is None


@pytest.mark.parametrize("name", ["gw-1/x", "gw-1/up", "+", "#", "gw-1/#", "$SYS", "GW-1", " gw-1", "gw-1 "])
async def test_a_name_that_is_none_of_ours_reaches_nothing(brokers, name):
    """No certificate with such a name is ever given out; if one were, it would be of no use."""
    pair, _ = brokers.signed(GATEWAYS, name)
    async with await brokers.connect(GATEWAYS, pair) as client, await brokers.probe(GATEWAYS) as probe:
        await client.subscribe("#")
        for topic in (
            "et/1/sync/gw-1/up",
            "et/1/sync/gw-1/state",
            "et/1/sync/gw-2/up",
            "et/1/sync/x/up",
            "et/1/cloud/x",
        ):
            assert await client.publish(topic) == DENIED
        for topic in ("et/1/sync/gw-1/down", "et/1/sync/x/down", "et/1/cloud/x"):
            await probe.publish(topic)
        assert await client.publish("end") == DENIED
        assert client.messages == []


async def test_a_certificate_cannot_take_the_client_id_of_another(brokers):
    for name in ("gw-1", "gw-2"):
        await brokers.join(name)
    async with await brokers.gateway("gw-2", "gw-2") as other, await brokers.gateway("gw-1", "gw-2") as first:
        assert await first.publish("et/1/sync/gw-1/up") < 0x80
        assert await other.publish("et/1/sync/gw-2/up") < 0x80
        async with await brokers.gateway("gw-1", "anything"):
            assert await first.until_ended(5) is not None
        assert other.ended is None


async def test_an_app_that_calls_itself_as_a_gateway_does_it_no_harm(brokers):
    await brokers.join("gw-1")
    await brokers.user("anna", Role.ADMIN)
    await brokers.known()
    async with await brokers.gateway("gw-1") as gateway, await brokers.app("anna", "gw-1"):
        assert await gateway.publish("et/1/sync/gw-1/up") < 0x80
        assert gateway.ended is None


async def test_old_tls_and_no_tls_are_refused(brokers):
    pair, _ = brokers.signed(GATEWAYS, "gw-1")
    for version in (ssl.TLSVersion.TLSv1, ssl.TLSVersion.TLSv1_1):
        context = tls(brokers.ca, pair)
        context.set_ciphers("ALL:@SECLEVEL=0")
        with pytest.warns(DeprecationWarning, match="TLSVersion"):
            context.minimum_version = context.maximum_version = version
        with pytest.raises(Refused):
            await Client.connect(brokers.gateways.place.port, "x", context=context)
    with pytest.raises(Refused):
        await Client.connect(brokers.gateways.place.port, "x")


async def test_the_inner_doors_open_to_nobody_without_a_password(brokers):
    for kind in (GATEWAYS, USERS):
        for login in (None, ("worker", "guess"), ("gw-1", ""), ("anna", "")):
            with pytest.raises(Refused) as caught:
                await brokers.inner(kind, login, "x")
            assert caught.value.code == DENIED


async def test_a_new_certificate_of_the_server_is_shown_without_a_restart(brokers):
    async def shown():
        async with await brokers.connect(GATEWAYS, pair) as client:
            return client.writer.get_extra_info("ssl_object").getpeercert(binary_form=True)

    pair, _ = brokers.signed(GATEWAYS, "gw-1")
    before, pid = await shown(), brokers.gateways._runner.pid
    assert keep_server_certificate(brokers.folder, ("localhost", "other.example"), now())
    assert not keep_server_certificate(brokers.folder, ("localhost",), now())
    brokers.gateways.renew((), (brokers.folder.ca / "gateways.crl").read_text())
    async with asyncio.timeout(5):
        while await shown() == before:  # noqa: ASYNC110 the broker tells nobody that it has reread its files
            await asyncio.sleep(0.05)
    assert brokers.gateways._runner.pid == pid


async def test_a_certificate_of_the_server_is_made_anew_in_good_time(brokers):
    soon = now() + (SERVER_DAYS - RENEWED_DAYS) * DAY_MS
    assert not keep_server_certificate(brokers.folder, ("localhost",), soon - DAY_MS)
    assert keep_server_certificate(brokers.folder, ("localhost",), soon + DAY_MS)
