"""What may be done with identities, over SQLite and PostgreSQL alike."""

import asyncio

import pytest

from cloudsync.identity.ca import name_of, serial_of
from cloudsync.identity.directory import Directory
from cloudsync.identity.model import AccountKind
from cloudsync.identity.roles import Role
from cloudsync.identity.secret import hashed
from cloudsync.identity.sql_store import VERSION, identity_store
from tests.cloudsync.identity.conftest import DAY_MS, NOW
from twin.certificates import fingerprint, life, new_key, request, sign_renewal
from twin.errors import (
    InvalidMessage,
    InvalidName,
    JoinRefused,
    NameTaken,
    RenewalRefused,
    StoreTooNew,
    UnknownAccount,
)
from twin.wire.enrolment import JoinRequest, JoinToken, RenewRequest

HOUR_S = 3600.0


async def joined(identities, name="gw-1", key=None):
    _, text = await identities.create_token(name, HOUR_S, by="admin")
    key = key or new_key()
    asked = JoinRequest(secret=JoinToken.read(text).secret, gateway=name, csr=request(key, name))
    return key, await identities.join(asked, where="here")


def renewal(key, certificate, name="gw-1", new=None):
    csr = request(new or new_key(), name)
    return RenewRequest(certificate=certificate, csr=csr, signature=sign_renewal(key, csr))


async def test_a_token_tells_a_gateway_all_it_needs(identities, gateways):
    token, text = await identities.create_token("gw-1", HOUR_S, by="admin")
    read = JoinToken.read(text)
    assert (read.url, read.host, read.port) == ("https://localhost:8443", "localhost", 8883)
    assert read.ca == fingerprint(gateways.certificate)
    assert read.gateway == "gw-1"
    assert token.expires_at == NOW + 3600_000
    assert "secret" not in repr(read)


async def test_a_gateway_joins_with_a_key_of_its_own(identities, store, gateways, audited):
    _, enrolled = await joined(identities)
    assert name_of(enrolled.certificate) == "gw-1"
    assert gateways.has_signed(enrolled.certificate)
    assert enrolled.ca == gateways.certificate
    assert life(enrolled.certificate).ends_at == NOW + 30 * DAY_MS
    assert (await store.account("gw-1")).active
    (token,) = await store.tokens()
    assert (token.used_by, token.state(NOW)) == ("gw-1", "used")
    assert [(one.action, one.account, one.outcome) for one in audited] == [
        ("token.create", "admin", "accepted"),
        ("gateway.join", "gw-1", "accepted"),
    ]


@pytest.mark.parametrize(
    ("break_it", "why"),
    [
        ("unknown", "does not know"),
        ("used", "used already"),
        ("expired", "is over"),
        ("revoked", "was revoked"),
        ("other", "is for the gateway gw-1"),
    ],
)
async def test_a_token_that_is_not_good_lets_nobody_in(identities, store, clock, audited, break_it, why):
    token, text = await identities.create_token("gw-1", HOUR_S, by="admin")
    secret, name = JoinToken.read(text).secret, "gw-1"
    if break_it == "unknown":
        secret = "x" * 43
    elif break_it == "used":
        await identities.join(JoinRequest(secret=secret, gateway=name, csr=request(new_key(), name)), where="here")
    elif break_it == "expired":
        clock.ms += 3600_000
    elif break_it == "revoked":
        await identities.revoke_token(token.id, by="admin")
    else:
        name = "gw-2"
    before = await store.account(name)
    with pytest.raises(JoinRefused, match=why) as caught:
        await identities.join(JoinRequest(secret=secret, gateway=name, csr=request(new_key(), name)), where="there")
    assert "token create" in caught.value.remedy
    assert await store.account(name) == before
    assert (audited[-1].outcome, audited[-1].subject) == ("join_refused", name)
    assert secret not in repr(audited)


async def test_a_lost_answer_is_asked_for_again_with_the_same_key(identities, store):
    _, text = await identities.create_token("", HOUR_S, by="admin")
    asked = JoinRequest(secret=JoinToken.read(text).secret, gateway="gw-1", csr=request(new_key(), "gw-1"))
    first = await identities.join(asked, where="here")
    second = await identities.join(asked, where="here")
    revoked = await store.revoked(AccountKind.GATEWAY, NOW)
    assert [one.serial for one in revoked] == [serial_of(first.certificate)]
    assert (await store.certificate(serial_of(second.certificate))).revoked_at == 0


async def test_two_at_once_with_one_token_and_one_comes_in(identities):
    _, text = await identities.create_token("", HOUR_S, by="admin")
    secret = JoinToken.read(text).secret
    asked = [JoinRequest(secret=secret, gateway=f"gw-{n}", csr=request(new_key(), f"gw-{n}")) for n in range(4)]
    answers = await asyncio.gather(*(identities.join(one, where="here") for one in asked), return_exceptions=True)
    assert sorted(type(answer).__name__ for answer in answers) == ["Enrolled"] + ["JoinRefused"] * 3


async def test_a_name_is_not_taken_over_without_a_token_for_it(identities):
    await joined(identities)
    _, text = await identities.create_token("", HOUR_S, by="admin")
    asked = JoinRequest(secret=JoinToken.read(text).secret, gateway="gw-1", csr=request(new_key(), "gw-1"))
    with pytest.raises(NameTaken) as caught:
        await identities.join(asked, where="here")
    assert "--gateway gw-1" in caught.value.remedy
    await identities.add_user("anna", Role.VIEWER, by="admin")
    with pytest.raises(NameTaken):
        await joined(identities, "anna")
    with pytest.raises(NameTaken):
        await identities.add_user("gw-1", Role.VIEWER, by="admin")


async def test_a_replaced_gateway_shuts_the_old_one_out(identities, store):
    key, old = await joined(identities)
    _, new = await joined(identities)
    revoked = await store.revoked(AccountKind.GATEWAY, NOW)
    assert [one.serial for one in revoked] == [serial_of(old.certificate)]
    with pytest.raises(RenewalRefused, match="revoked"):
        await identities.renew(renewal(key, old.certificate), where="here")
    assert (await store.certificate(serial_of(new.certificate))).revoked_at == 0


@pytest.mark.parametrize("name", ["", "gw-1/x", "+", "#", "GW", "a" * 64, "gw\n1", "$SYS", "-gw", "gw 1"])
async def test_a_name_outside_the_grammar_gets_no_certificate(identities, store, name):
    _, text = await identities.create_token("", HOUR_S, by="admin")
    secret = JoinToken.read(text).secret
    csr = request(new_key(), name) if 0 < len(name) <= 64 else request(new_key(), "x")
    with pytest.raises((InvalidName, ValueError)):
        await identities.join(JoinRequest(secret=secret, gateway=name, csr=csr), where="here")
    assert (await store.changes(0)).accounts == ()
    with pytest.raises(InvalidName):
        await identities.add_user(name, Role.VIEWER, by="admin")


async def test_the_name_in_the_request_must_be_the_one_that_is_asked_for(identities, store):
    _, text = await identities.create_token("", HOUR_S, by="admin")
    asked = JoinRequest(secret=JoinToken.read(text).secret, gateway="gw-1", csr=request(new_key(), "gw-2"))
    with pytest.raises(InvalidMessage, match="'gw-2', not for 'gw-1'"):
        await identities.join(asked, where="here")
    assert await store.account("gw-1") is None
    assert (await store.tokens())[0].state(NOW) == "open"


async def test_a_certificate_is_renewed_and_both_are_good(identities, store, clock):
    key, old = await joined(identities)
    clock.ms += 20 * DAY_MS
    new = await identities.renew(renewal(key, old.certificate), where="here")
    assert life(new.certificate).ends_at == clock.ms + 30 * DAY_MS
    assert await store.revoked(AccountKind.GATEWAY, clock.ms) == []
    assert await store.ends(AccountKind.GATEWAY) == {"gw-1": clock.ms + 30 * DAY_MS}


async def test_a_gateway_that_was_away_for_long_still_renews_within_the_grace(identities, clock):
    key, old = await joined(identities)
    clock.ms = life(old.certificate).ends_at + 90 * DAY_MS
    assert (await identities.renew(renewal(key, old.certificate), where="here")).gateway == "gw-1"
    clock.ms += 1
    with pytest.raises(RenewalRefused, match="more than 90 days ago"):
        await identities.renew(renewal(key, old.certificate), where="here")


async def test_only_the_holder_of_the_key_renews(identities, users, audited):
    key, old = await joined(identities)
    stolen = renewal(new_key(), old.certificate)
    with pytest.raises(RenewalRefused, match="not signed by the key"):
        await identities.renew(stolen, where="here")
    good = renewal(key, old.certificate)
    for bad in (
        good.model_copy(update={"csr": request(new_key(), "gw-1")}),
        good.model_copy(update={"signature": "!"}),
        good.model_copy(update={"signature": "\u00e4"}),
        good.model_copy(update={"signature": ""}),
    ):
        with pytest.raises(RenewalRefused):
            await identities.renew(bad, where="here")
    strange, _ = users.issue(request(key, "gw-1"), "gw-1", now=NOW, days=30)
    with pytest.raises(RenewalRefused, match="none that this cloud gave"):
        await identities.renew(renewal(key, strange), where="here")
    with pytest.raises(InvalidMessage, match="not for 'gw-1'"):
        await identities.renew(renewal(key, old.certificate, name="gw-2"), where="here")
    assert [one.outcome for one in audited if one.action == "gateway.renew"] == ["renewal_refused"] * 6


async def test_what_is_revoked_is_not_renewed_and_comes_back_only_with_a_token(identities, store, clock):
    key, old = await joined(identities)
    await identities.revoke("gw-1", AccountKind.GATEWAY, by="admin")
    await identities.revoke("gw-1", AccountKind.GATEWAY, by="admin")
    with pytest.raises(RenewalRefused, match="revoked"):
        await identities.renew(renewal(key, old.certificate), where="here")
    assert not (await store.account("gw-1")).active
    assert await store.ends(AccountKind.GATEWAY) == {}
    await joined(identities)
    assert (await store.account("gw-1")).active
    with pytest.raises(RenewalRefused):
        await identities.renew(renewal(key, old.certificate), where="here")
    clock.ms = life(old.certificate).ends_at
    assert await store.revoked(AccountKind.GATEWAY, clock.ms) == []


async def test_revoking_who_is_not_there_is_an_error(identities):
    with pytest.raises(UnknownAccount):
        await identities.revoke("gw-9", AccountKind.GATEWAY, by="admin")
    await identities.add_user("anna", Role.VIEWER, by="admin")
    with pytest.raises(UnknownAccount):
        await identities.revoke("anna", AccountKind.GATEWAY, by="admin")
    with pytest.raises(UnknownAccount):
        await identities.revoke_token("nothing", by="admin")


async def test_a_user_has_a_certificate_and_an_api_token_that_the_cloud_does_not_keep(identities, store, users):
    anna = await identities.add_user("anna", Role.OPERATOR, by="admin")
    assert users.has_signed(anna.certificate)
    assert (await store.user_of(hashed(anna.api_token))).role is Role.OPERATOR
    assert await store.user_of(anna.api_token) is None
    assert await store.user_of("") is None
    with pytest.raises(NameTaken):
        await identities.add_user("anna", Role.ADMIN, by="admin")
    again = await identities.add_user("anna", Role.VIEWER, by="admin", replace=True)
    assert await store.user_of(hashed(anna.api_token)) is None
    assert (await store.user_of(hashed(again.api_token))).role is Role.VIEWER
    assert [one.serial for one in await store.revoked(AccountKind.USER, NOW)] == [serial_of(anna.certificate)]
    await identities.revoke("anna", AccountKind.USER, by="admin")
    assert await store.user_of(hashed(again.api_token)) is None
    assert anna.api_token not in repr(anna)
    assert anna.key not in repr(anna)


async def test_a_directory_follows_what_another_process_changes(identities, store, store_url):
    await joined(identities)
    directory = Directory(identity_store(store_url))
    told = []
    directory.on_change = lambda accounts: told.append([account.name for account in accounts])
    async with directory:
        assert directory.gateway("gw-1")
        assert directory.role("gw-1") is None
        await identities.add_user("anna", Role.VIEWER, by="admin")
        await identities.revoke("gw-1", AccountKind.GATEWAY, by="admin")
        async with asyncio.timeout(1.0):
            while directory.gateway("gw-1"):  # noqa: ASYNC110 it looks by itself, and tells nobody
                await asyncio.sleep(0.01)
        assert directory.role("anna") is Role.VIEWER
        assert not directory.gateway("anna")
        assert not directory.gateway("gw-9")
    assert ["gw-1"] in told
    assert (await store.changes(directory.revision)).accounts == ()


async def test_a_gateway_that_joined_and_was_revoked_between_two_looks_is_told_of_and_those_of_long_ago_are_not(
    identities, store_url
):
    await joined(identities)
    await identities.revoke("gw-1", AccountKind.GATEWAY, by="admin")
    directory = Directory(identity_store(store_url))
    told = []
    directory.on_change = lambda accounts: told.extend(account.name for account in accounts)
    async with directory._store:
        await directory.refresh()
        assert told == []
        await joined(identities, "gw-2")
        await identities.revoke("gw-2", AccountKind.GATEWAY, by="admin")
        await directory.refresh()
    assert told == ["gw-2"]


async def test_lists_of_revoked_certificates_reach_other_machines(store):
    before = (await store.changes(0)).revision
    await store.publish([("gateways.crl", "one")])
    await store.publish([("gateways.crl", "two"), ("users.crl", "three")])
    assert await store.published() == {"gateways.crl": "two", "users.crl": "three"}
    assert (await store.changes(0)).revision > before


async def test_identities_of_a_later_release_are_left_alone(store_url):
    async with identity_store(store_url) as store, store._database.transaction() as session:
        await session.fetch("UPDATE identity_state SET version = $1", VERSION + 1)
    with pytest.raises(StoreTooNew):
        async with identity_store(store_url):
            pass


async def test_a_change_that_fails_half_way_leaves_nothing(store, store_url):
    class Broken(Exception):
        pass

    async def break_it():
        async with store._database.transaction() as session:
            await session.fetch("INSERT INTO identity_file (name, text) VALUES ('x', 'y')")
            raise Broken

    with pytest.raises(Broken):
        await break_it()
    assert await store.published() == {}


async def test_who_leaves_in_the_midst_of_a_question_keeps_no_other_from_an_answer(store):
    for turns in range(12):
        asked = asyncio.create_task(store.user_of("nobody"))
        for _ in range(turns):
            await asyncio.sleep(0)
        asked.cancel()
        await asyncio.gather(asked, return_exceptions=True)
        assert await store.user_of("nobody") is None, f"after {turns} turns of the loop"
