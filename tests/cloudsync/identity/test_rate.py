import pytest
from fastapi import Request

from cloudsync.http_errors import TooMany, Unauthorized
from cloudsync.identity import rate
from cloudsync.identity.bearer import Bearer
from cloudsync.identity.model import Account, AccountKind
from cloudsync.identity.rate import RateLimit
from cloudsync.identity.roles import Role
from cloudsync.identity.secret import hashed
from tests.cloudsync.identity.conftest import HandClock

pytestmark = pytest.mark.fast


def test_an_address_may_ask_so_often_a_minute_and_others_all_the_same():
    clock = HandClock()
    limit = RateLimit(3, clock.monotonic_s)
    assert [limit.allows("a") for _ in range(4)] == [True, True, True, False]
    assert limit.allows("b")
    clock.s += 20
    assert [limit.allows("a") for _ in range(2)] == [True, False]
    clock.s += 3600
    assert [limit.allows("a") for _ in range(4)] == [True, True, True, False]


def test_many_addresses_together_have_a_bound(monkeypatch):
    clock = HandClock()
    limit = RateLimit(1, clock.monotonic_s)
    assert sum(limit.allows(str(n)) for n in range(100)) == rate.ALL


def test_strangers_do_not_fill_the_memory(monkeypatch):
    clock = HandClock()
    monkeypatch.setattr(rate, "MAX_ADDRESSES", 10)
    limit = RateLimit(100, clock.monotonic_s)
    for n in range(30):
        limit.allows(str(n))
    assert len(limit._buckets) == 10
    assert not limit.allows("new")
    clock.s += 61
    assert limit.allows("new")
    assert len(limit._buckets) == 1


async def test_who_guesses_api_tokens_is_stopped_and_who_has_one_is_not():
    class Store:
        async def user_of(self, digest):
            return Account("anna", AccountKind.USER, Role.VIEWER, 1) if digest == hashed("good") else None

    def asked(token):
        headers = [(b"authorization", f"Bearer {token}".encode())] if token else []
        return Request({"type": "http", "headers": headers, "client": ("10.0.0.1", 1)})

    clock = HandClock()
    bearer = Bearer(Store(), RateLimit(2, clock.monotonic_s))
    for _ in range(2):
        with pytest.raises(Unauthorized):
            await bearer(asked("guess"))
    with pytest.raises(TooMany):
        await bearer(asked("guess"))
    assert await bearer(asked("good")) == ("anna", Role.VIEWER)
    with pytest.raises(Unauthorized, match="needs an API token"):
        await bearer(asked(""))
