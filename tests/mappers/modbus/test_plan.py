"""Requests against every possible way to make them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mappers.modbus.plan import TCP_COST, Cost, Limits, Span, Table, batched, gap_cost, rtu_cost

pytestmark = pytest.mark.fast


def spans(*places, table=Table.HOLDING):
    return [Span(table, address, count, f"p{n}") for n, (address, count) in enumerate(places)]


def shape(requests):
    return [(request.address, request.count) for request in requests]


def partitions(items):
    """All ways to put items into groups."""
    if not items:
        yield []
        return
    first, *rest = items
    for groups in partitions(rest):
        yield [[first], *groups]
        for n, group in enumerate(groups):
            yield [*groups[:n], [first, *group], *groups[n + 1 :]]


def extent(group):
    return max(span.end for span in group) - min(span.address for span in group)


SMALL = st.lists(
    st.builds(lambda address, count: (address, count), st.integers(0, 30), st.integers(1, 5)), min_size=1, max_size=7
)


@given(SMALL, st.integers(0, 12), st.integers(0, 3), st.integers(5, 16), st.sampled_from(Table))
def test_requests_are_the_cheapest_of_all_that_are_allowed(places, request_cost, register_cost, limit, table):
    wanted = spans(*places, table=table)
    cost, limits = Cost(request_cost, register_cost), Limits(limit, limit)
    requests = batched(wanted, cost, limits)

    answered = [span for request in requests for span in request.spans]
    assert sorted(answered, key=lambda span: span.name) == wanted
    for request in requests:
        assert request.count <= limit
        assert request.address == min(span.address for span in request.spans)
        assert all(span.end <= request.address + request.count for span in request.spans)

    def price(group_extents):
        return sum(cost.of(table, count) for count in group_extents), len(group_extents)

    allowed = [[extent(group) for group in way] for way in partitions(wanted)]
    best = min(price(way) for way in allowed if max(way) <= limit)
    assert price([request.count for request in requests]) == best


def test_neighbours_are_one_request():
    assert shape(batched(spans((0, 2), (2, 1), (3, 4)), TCP_COST, Limits())) == [(0, 7)]


def test_gap_is_bridged_when_that_is_cheaper():
    assert shape(batched(spans((0, 1), (50, 1)), TCP_COST, Limits())) == [(0, 51)]
    assert shape(batched(spans((0, 1), (52, 1)), TCP_COST, Limits())) == [(0, 1), (52, 1)]


def test_fixed_gap_bridges_exactly_gaps_up_to_it():
    places = spans((0, 1), (3, 1), (7, 1), (8, 1))
    assert shape(batched(places, gap_cost(0), Limits())) == [(0, 1), (3, 1), (7, 2)]
    assert shape(batched(places, gap_cost(2), Limits())) == [(0, 4), (7, 2)]
    assert shape(batched(places, gap_cost(3), Limits())) == [(0, 9)]


def test_slow_line_bridges_less_than_a_fast_one():
    def longest_gap(baudrate):
        cost = rtu_cost(baudrate)
        return int(cost.request / cost.register)

    assert longest_gap(9600) == 12
    assert longest_gap(115200) > longest_gap(9600)


def test_value_is_never_split_at_the_limit():
    assert shape(batched(spans(*((n, 4) for n in range(0, 200, 4))), TCP_COST, Limits(125))) == [(0, 76), (76, 124)]


def test_tables_are_not_mixed_and_bits_have_a_limit_of_their_own():
    places = [*spans((0, 1), table=Table.COIL), Span(Table.COIL, 1900, 1, "far"), Span(Table.INPUT, 0, 1, "in")]
    requests = batched(places, Cost(request=10_000, register=1), Limits(125, 2000))
    assert [(request.table, request.count) for request in requests] == [(Table.COIL, 1901), (Table.INPUT, 1)]


def test_bits_of_one_register_are_one_place():
    requests = batched([Span(Table.HOLDING, 5, 1, f"bit{n}") for n in range(16)], TCP_COST, Limits())
    assert shape(requests) == [(5, 1)]
    assert len(requests[0].spans) == 16


def test_value_over_the_limit_is_refused():
    with pytest.raises(ValueError, match="p0 needs 20 addresses of holding in one request; at most 10 are allowed"):
        batched(spans((0, 20)), TCP_COST, Limits(10))


def test_gaps_are_seen_also_behind_overlaps():
    overlapping, holed = batched(spans((0, 4), (1, 1), (4, 1), (200, 1), (202, 1)), gap_cost(1), Limits())
    assert not overlapping.has_gaps
    assert holed.has_gaps


def test_thousand_points_are_planned_near_the_optimum_of_full_blocks():
    requests = batched(spans(*((n, 1) for n in range(1000))), TCP_COST, Limits())
    assert len(requests) == 8
