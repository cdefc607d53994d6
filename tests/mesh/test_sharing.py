"""What several processes may carry at once, and what one has to carry alone."""

import pytest

from mesh.compile import Compiled, compile_table
from mesh.model.policies import CircuitBreaker, ConnectionPool, Policy, RateLimit, TokenBucket
from mesh.model.routes import RouteKind
from mesh.sharing import shared
from tests.mesh.tables import pkey, route, rule, service, table

pytestmark = pytest.mark.fast
LIMIT = RateLimit(TokenBucket(5))


def carried(made):
    programme = compile_table(made, Compiled("gw-1")).programme
    return set(shared(programme).frontends), programme


def two():
    return (
        service("web", "10.0.0.1:80", address="127.96.0.1"),
        service("other", "10.0.0.2:80", address="127.96.0.2"),
    )


@pytest.mark.parametrize(
    "policy",
    [
        Policy(rate_limit=LIMIT),
        Policy(pool=ConnectionPool(max_connections=9)),
        Policy(pool=ConnectionPool(max_requests=9)),
    ],
)
def test_a_port_with_a_bound_is_carried_by_one_alone(policy):
    ports, programme = carried(table(*two(), policies={"web": policy}))
    assert ports == {pkey("other")}
    assert shared(programme).backends is programme.backends


@pytest.mark.parametrize("policy", [Policy(), Policy(breaker=CircuitBreaker())])
def test_what_has_none_is_carried_by_all(policy):
    ports, programme = carried(table(*two(), policies={"web": policy}))
    assert ports == {pkey("web"), pkey("other")}
    assert shared(programme) is programme


def test_a_bound_of_what_a_route_leads_to_counts_at_its_parent():
    led = route("split", rule("web"), parents=(pkey("other"),), kind=RouteKind.TCP)
    assert carried(table(*two(), led, policies={"web": Policy(rate_limit=LIMIT)}))[0] == set()
