"""Rules of raw connections, and stays of clients: pure."""

import pytest

from mesh.model.programme import BoundRule
from mesh.model.routes import Rule
from mesh.planes.l4.affinity import Affinity
from mesh.planes.l4.rules import host_fit, rule_for

pytestmark = pytest.mark.fast


def rule(name: str, *hostnames: str) -> BoundRule:
    return BoundRule(Rule(name=name), hostnames=hostnames)


@pytest.mark.parametrize(
    ("asked", "expected"),
    [
        ("a.shop.example", "exact"),
        ("b.shop.example", "longer wildcard"),
        ("c.b.shop.example", "longer wildcard"),
        ("other.example", "wildcard"),
        ("shop.example", "wildcard"),
        ("elsewhere.net", "all"),
        ("", "all"),
    ],
)
def test_the_host_name_that_fits_best_counts(asked: str, expected: str) -> None:
    rules = [
        rule("all"),
        rule("wildcard", "*.example"),
        rule("longer wildcard", "*.shop.example"),
        rule("exact", "x.example", "A.Shop.example"),
    ]
    found = rule_for(rules, asked)
    assert found is not None
    assert found.rule.name == expected


def test_of_two_that_fit_alike_the_first_counts() -> None:
    found = rule_for([rule("first", "*.a"), rule("second", "*.a")], "x.a")
    assert found is not None
    assert found.rule.name == "first"


def test_a_name_for_which_there_is_no_rule_gets_none() -> None:
    assert rule_for([rule("a", "a.example")], "b.example") is None
    assert rule_for([rule("a", "a.example")], "") is None
    assert rule_for([], None) is None


def test_where_names_do_not_count_the_first_rule_does() -> None:
    assert rule_for([rule("a", "a.example"), rule("b")], None) == rule("a", "a.example")


def test_a_wildcard_takes_one_label_at_least_and_no_part_of_one() -> None:
    assert host_fit("*.shop.example", "shop.example") == -1
    assert host_fit("*.shop.example", ".shop.example") == -1
    assert host_fit("*.shop.example", "myshop.example") == -1
    assert host_fit("*.a", "b.a") > -1


def test_a_client_stays_until_its_time_is_over_counted_from_the_last_time() -> None:
    affinity = Affinity()
    affinity.went("c", "e1", 0.0, 10)
    assert affinity.place("c", 9.9) == "e1"
    affinity.went("c", "e1", 9.9, 10)
    assert affinity.place("c", 19.8) == "e1"
    assert affinity.place("c", 19.9) is None
    assert affinity.place("d", 0.0) is None


def test_of_too_many_clients_the_one_not_seen_longest_is_forgotten() -> None:
    affinity = Affinity(max_clients=2)
    affinity.went("a", "e", 0.0, 10)
    affinity.went("b", "e", 0.0, 10)
    affinity.went("a", "e", 1.0, 10)
    affinity.went("c", "e", 1.0, 10)
    assert len(affinity) == 2
    assert [affinity.place(one, 2.0) for one in "abc"] == ["e", None, "e"]
