"""What twins are told, and how seldom: a sync is not flooded by rates, whatever goes through a gateway."""

from concurrent.futures import ThreadPoolExecutor

import pytest

from edgehub.mesh.reports import RATES_AT_ONCE, RATES_EVERY_S, Reports
from edgehub.mesh.twins import PROPERTIES, twin_key
from mesh.model.services import ServiceKey
from twin.clock import SystemClock
from twin.engine import TwinEngine
from twin.model import TwinSpec
from twin.sqlite_store import SqliteStore
from twin.wire.mesh import RouteRates, RouteTwin

SERVICES = [ServiceKey("plant", f"s{number}") for number in range(100)]
WEB = SERVICES[0]


class Site:
    """An engine with twins of services, and how often each was told something."""

    def __init__(self, engine):
        self.engine = engine
        self.reports = Reports(engine, "gw-1")
        self.tick = 0

    def define(self, uid="u-1", services=SERVICES):
        for one in services:
            self.engine.define(TwinSpec(twin_key(one, "gw-1"), uid, gateway="gw-1", properties=PROPERTIES))

    def look(self, second, subjects=(), requests_s=0.0, alerts=()):
        """One round of the mesh; how many rates it told."""
        due = self.reports.rates_due(SERVICES, second)
        before = self.rates()
        rates = RouteRates(requests_s=requests_s)

        def twin_of(subject):
            return RouteTwin(kind="Service", name=str(subject), rates=rates, alerts=list(alerts))

        self.reports.report({*subjects, *due}, due, twin_of, second, 1_700_000_000_000 + second * 1000)
        return sum(now != then for now, then in zip(self.rates(), before, strict=True))

    def rates(self):
        return [self.told(one).get("rates") for one in SERVICES]

    def told(self, service):
        reported = self.engine.document(twin_key(service, "gw-1")).reported
        return {name: slot.value for name, slot in reported.items()}


@pytest.fixture
async def site(tmp_path):
    store = SqliteStore(tmp_path / "state.db")
    store.open()
    with ThreadPoolExecutor(1) as executor:
        engine = TwinEngine(store, clock=SystemClock(), executor=executor)
        engine.open()
        made = Site(engine)
        made.define()
        yield made
        await engine.close()
        store.close()


async def test_a_twin_is_told_everything_first_and_then_what_is_other(site):
    assert set(site.reports.keep(SERVICES)) == set(SERVICES)
    site.look(0, SERVICES)
    assert site.told(WEB)["name"] == "plant/s0"
    assert site.reports.keep(SERVICES) == []
    site.look(1, [WEB], alerts=["plant/slow"])
    assert site.told(WEB)["alerts"] == ["plant/slow"]


async def test_rates_of_a_hundred_busy_services_come_in_turn_a_few_each_second(site):
    site.look(0, SERVICES)
    told = [site.look(second, requests_s=100.0 * 2**second) for second in range(1, 16)]
    assert max(told) == RATES_AT_ONCE
    assert sum(told[: int(RATES_EVERY_S) + 5]) >= len(SERVICES)  # each had its turn


async def test_a_change_is_told_at_once_and_its_rates_in_their_own_time(site):
    site.look(0, SERVICES)
    site.look(1, [WEB], requests_s=50, alerts=["plant/slow"])
    assert site.told(WEB)["alerts"] == ["plant/slow"]
    assert site.told(WEB)["rates"]["requests_s"] == 0


async def test_a_service_that_was_made_anew_is_told_everything_again(site):
    site.look(0, SERVICES)
    site.define("u-2", [WEB])
    assert site.reports.keep(SERVICES) == [WEB]
    site.look(1, [WEB])
    assert site.told(WEB)["name"] == "plant/s0"


async def test_a_twin_that_is_not_there_yet_is_left_for_later(site):
    unknown = ServiceKey("plant", "unknown")
    site.look(0, [unknown, WEB])
    assert site.told(WEB)["kind"] == "Service"
    assert site.reports.keep([unknown, WEB]) == [unknown]
