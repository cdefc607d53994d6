"""What the gateway knows of itself for its alarms: over restarts, with and without a cloud, on a disk that fails."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import pytest

from edgehub.alarming.facts import SELDOM_S, GatewayFacts
from edgehub.cloud_keys import CloudKeys
from twin.engine import TwinEngine
from twin.errors import StoreError
from twin.sqlite_store import SqliteStore
from twin.wire.api import SyncBody

pytestmark = pytest.mark.fast


class Clock:
    s = 100.0

    def monotonic_s(self):
        return self.s

    def now_us(self):
        return int((1_000_000 + self.s) * 1_000_000)


class History:
    count = 7
    broken = False

    def dropped(self):
        if self.broken:
            raise StoreError("the disk", remedy="Look at it.")
        return self.count


class Site:
    def __init__(self, folder, executor, clock):
        self.store = SqliteStore(folder / "state.db")
        self.store.open()
        self.engine = TwinEngine(self.store, clock=clock, executor=executor)
        self.engine.open()
        self.history, self.clock = History(), clock
        self.sync = SyncBody(state="live", since=0)
        keys = CloudKeys(folder / "keys")
        self.facts = GatewayFacts(self.engine, self.history, keys, folder, clock, lambda: self.sync)
        self.facts.load()

    async def look(self, seconds=0.0):
        self.clock.s += seconds
        found = await self.facts.look()
        await self.engine.settled()
        return found


@pytest.fixture
def sites(tmp_path):
    made, clock = [], Clock()
    with ThreadPoolExecutor(1) as executor:

        def make():
            if made:
                made[-1].store.close()
            made.append(Site(tmp_path, executor, clock))
            return made[-1]

        yield make
        made[-1].store.close()


async def test_how_long_the_cloud_is_away_counts_over_states_and_restarts(sites):
    site = sites()
    assert (await site.look()).offline_s == 0
    site.sync = SyncBody(state="offline", since=0, unsent=12)
    assert (await site.look(5)).offline_s == 0
    site.sync = SyncBody(state="connecting", since=9)
    assert (await site.look(20)).offline_s == 20
    again = sites()
    again.sync = SyncBody(state="offline", since=10**9)
    assert (await again.look(30)).offline_s == 50
    again.sync = SyncBody(state="resync", since=10**9)
    assert (await again.look(1)).offline_s == 0
    again.sync = SyncBody(state="offline", since=10**9)
    assert (await again.look(1)).offline_s == 0


async def test_without_a_cloud_nothing_is_known_of_it(sites):
    site = sites()
    for none in (None, SyncBody(state="off", since=0)):
        site.sync = none
        found = await site.look(1)
        assert (found.offline_s, found.unsent_leaves, found.certificate_days) == (None, None, None)
    assert found.disk_free_percent is not None
    assert 0 <= found.disk_free_percent <= 100
    assert found.clock == ""


async def test_drops_are_those_since_the_last_look(sites):
    site = sites()
    assert (await site.look()).drops == 0
    site.history.count = 10
    assert (await site.look(1)).drops == 0  # the disk is asked seldom
    assert (await site.look(SELDOM_S)).drops == 3
    assert (await site.look(SELDOM_S)).drops == 0
    site.history.broken = True
    assert (await site.look(SELDOM_S)).drops is None
