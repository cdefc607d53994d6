"""Which services a gateway uses, and for how long."""

import pytest

from edgehub.mesh.interest import KEPT_MS, MOST, Interest
from mesh.model.routes import Backend, Route, RouteKey, RouteKind, Rule
from mesh.model.services import PortKey, Service, ServiceKey
from mesh.model.table import Table

pytestmark = pytest.mark.fast

WEB, SHOP, STOCK = (ServiceKey("plant", name) for name in ("web", "shop", "stock"))
ROUTE = RouteKey(RouteKind.HTTP, "plant", "split")
TABLE = Table(
    {WEB: Service(WEB)}, {ROUTE: Route(ROUTE, (PortKey(SHOP, 80),), (Rule(backends=(Backend(PortKey(STOCK, 80)),)),))}
)


def test_services_and_routes_that_were_applied_here_are_of_interest():
    assert Interest({}).of(TABLE, frozenset(), 0) == ["plant/shop", "plant/stock", "plant/web"]


def test_what_the_cloud_sent_is_not_of_interest_because_it_sent_it():
    assert Interest({}).of(TABLE, {WEB, ROUTE}, 0) == []


def test_a_name_is_of_interest_for_a_day_after_it_was_asked_for():
    interest = Interest({})
    assert interest.took([WEB], 1000)
    assert interest.of(Table(), frozenset(), KEPT_MS) == ["plant/web"]
    assert interest.of(Table(), frozenset(), 1000 + KEPT_MS) == []


def test_a_name_that_is_asked_for_all_the_time_is_noted_now_and_then():
    interest = Interest({})
    assert [interest.took([WEB], 1000 + 60_000 * minute) for minute in range(120)].count(True) == 2


def test_however_many_names_are_asked_for_only_the_last_are_kept():
    interest = Interest({})
    for number in range(MOST + 10):
        interest.took([ServiceKey("x", f"n{number}")], 1000 + number)
    kept = interest.of(Table(), frozenset(), 5000)
    assert len(kept) == MOST
    assert "x/n0" not in kept


def test_a_note_is_read_back_and_nonsense_in_it_left_out():
    interest = Interest({})
    interest.took([WEB], 1000)
    assert Interest.read(interest.note() + "\nnothing\na/b x\n").note() == "plant/web 1000\n"
