"""Twins as a tree: what is pending stands behind an arrow, what is not good says so."""

import io

import pytest
from rich.console import Console

from twin.model import Quality, Reason
from twin.show.tree import twin_tree
from twin.wire.api import LeafBody, TwinBody

pytestmark = pytest.mark.fast

NOW_MS = 1_000_000


def shown(*twins):
    console = Console(width=120, record=True, file=io.StringIO())
    console.print(twin_tree(twins, NOW_MS))
    return [line.rstrip() for line in console.export_text().splitlines()]


def tank(name="tank", gateway="gw-1", **more):
    reported = {
        "valve": LeafBody(value=55, at=NOW_MS - 500, unit="%"),
        "level": LeafBody(value=3.5, at=NOW_MS - 120_000, unit="m", quality=Quality.BAD, reason=Reason.TIMEOUT),
    }
    body = {"twin": f"device/plant/{name}", "version": 1, "uid": "u", "model": "tank", "gateway": gateway}
    return TwinBody(**{**body, "reported": reported, **more})


def test_a_twin_is_a_branch_of_its_gateway_with_its_properties_in_order():
    assert shown(tank()) == [
        "gw-1",
        "└── plant/tank  tank",
        "    ├── level  3.5 m  bad (timeout)  2 min",
        "    └── valve  55 %  good  0.5 s",
    ]


def test_only_what_the_device_has_not_followed_stands_behind_an_arrow():
    desired = {"valve": LeafBody(value=80, at=NOW_MS, unit="%"), "level": LeafBody(value=3.5, at=NOW_MS)}
    lines = shown(tank(desired=desired, delta={"valve": 80}))
    assert [line for line in lines if "→" in line] == ["    └── valve  55 % → 80  good  0.5 s"]


def test_twins_of_one_gateway_are_together_whatever_their_order():
    lines = shown(tank("a"), tank("b", "gw-2"), tank("c"), tank("d", ""))
    assert [line for line in lines if line[0] not in " │├└"] == ["gw-1", "gw-2", "of no gateway"]


def test_a_gateway_calls_itself_so_where_a_document_names_none():
    console = Console(width=120, record=True, file=io.StringIO())
    console.print(twin_tree([tank(gateway="")], NOW_MS, nowhere="this gateway"))
    assert console.export_text().splitlines()[0].rstrip() == "this gateway"


def test_a_twin_without_values_says_so():
    assert shown(tank(reported={}))[-1] == "    └── no value yet"
