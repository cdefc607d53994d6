"""Simulated devices: values that fit, the same at the same time, taken writes, and no connection to anything."""

import asyncio
from itertools import pairwise
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mappers.sdk.config import HostSettings
from mappers.sdk.connections import Connections
from mappers.sdk.registry import Registry
from mappers.sdk.signals import Signal, seed_of, usual_range
from mappers.sdk.simulate import halves
from twin.model import Access, PropertySpec, TwinKey, ValueType
from twin.validate import violation
from twin.wire import codec, topics

pytestmark = pytest.mark.fast

TIMES = st.floats(0, 4e9)
NUMBERS = st.sampled_from([ValueType.INT, ValueType.FLOAT, ValueType.DOUBLE])


@st.composite
def specs(draw):
    low, high = sorted([draw(st.integers(-(10**9), 10**9)), draw(st.integers(-(10**9), 10**9))])
    return PropertySpec(
        "p",
        draw(st.sampled_from(ValueType)) if draw(st.booleans()) else draw(NUMBERS),
        Access.READ_WRITE,
        minimum=draw(st.sampled_from([None, low])),
        maximum=draw(st.sampled_from([None, high])),
        unit=draw(st.sampled_from(["", "°C", "%", "bar", "strange"])),
        tolerance=draw(st.floats(0, 10)),
    )


@given(specs(), st.integers(0, 2**32), TIMES)
def test_a_value_fits_its_property_whenever_it_is_read(spec, seed, time_s):
    value = Signal(spec, seed).at(time_s)
    assert violation(spec, value) == ""
    assert Signal(spec, seed).at(time_s) == value


@given(specs(), st.integers(0, 2**32), TIMES, st.floats(0, 1))
def test_what_was_written_stays_within_half_its_tolerance_and_its_limits(spec, seed, time_s, part):
    if spec.type not in (ValueType.INT, ValueType.FLOAT, ValueType.DOUBLE):
        return
    low, high = usual_range(spec)
    value = low + part * (high - low)
    written = round(value) if spec.type is ValueType.INT else value
    if violation(spec, written):
        return
    near = Signal(spec, seed).near(written, time_s)
    assert violation(spec, near) == ""
    assert abs(near - written) <= spec.tolerance


@pytest.mark.parametrize(
    ("type_", "more"),
    [
        (ValueType.FLOAT, {}),
        (ValueType.FLOAT, {"unit": "°C"}),
        (ValueType.INT, {"minimum": 0, "maximum": 3000}),
        (ValueType.BOOLEAN, {}),
        (ValueType.STRING, {}),
        (ValueType.BYTES, {}),
        (ValueType.JSON, {}),
        (ValueType.STRING, {"enum": ("heat", "cool", "off")}),
    ],
)
def test_values_move(type_, more):
    spec = PropertySpec("p", type_, **more)
    signal = Signal(spec, seed_of("device/default/tank", "p"))
    values = [signal.at(float(second)) for second in range(600)]
    assert len({str(value) for value in values}) > 1
    assert all(violation(spec, value) == "" for value in values)


def test_a_temperature_looks_like_one_and_does_not_jump():
    signal = Signal(PropertySpec("t", ValueType.FLOAT, unit="°C"), 7)
    values = [signal.at(float(second)) for second in range(3600)]
    assert 15 <= min(values) < max(values) <= 35
    assert max(abs(b - a) for a, b in pairwise(values)) < 2


def test_two_properties_do_not_move_alike():
    spec = PropertySpec("p", ValueType.FLOAT)
    a, b = (Signal(spec, seed_of("tank", name)) for name in "ab")
    assert [a.at(float(second)) for second in range(9)] != [b.at(float(second)) for second in range(9)]


def settings(*devices: tuple[str, bool]) -> HostSettings:
    level = {"property": "level", "type": "FLOAT", "minimum": 0, "maximum": 50, "visitor": {"scale": 0.1}}
    valve = {"property": "valve", "type": "FLOAT", "access": "ReadWrite", "visitor": {"scale": 0.1}}
    return HostSettings.model_validate(
        {
            "connections": [
                {
                    "name": "default/bus",
                    "mapper": "scripted",
                    "config": {},
                    "devices": [
                        {
                            "twin": f"device/default/{name}",
                            "address": {"unit": name},
                            "points": [level, valve],
                            "simulate": simulate,
                        }
                        for name, simulate in devices
                    ],
                }
            ]
        }
    )


def test_a_connection_is_split_into_its_real_and_its_simulated_devices():
    (connection,) = settings(("a", True), ("b", False), ("c", True)).connections
    assert [(half.name, [device.twin[-1] for device in half.devices]) for half in halves(connection)] == [
        ("default/bus", ["b"]),
        ("default/bus (simulated)", ["a", "c"]),
    ]
    assert [half.name for half in halves(settings(("a", True)).connections[0])] == ["default/bus (simulated)"]
    assert [half.name for half in halves(settings(("a", False)).connections[0])] == ["default/bus"]
    assert [half.name for half in halves(settings().connections[0])] == ["default/bus"]


class Host:
    """Connections with a scripted mapper, and the newest leaf of each property by who reported it."""

    def __init__(self, world, mapper) -> None:
        self.world = world
        entry = type("Entry", (), {"name": "scripted", "value": "x:y", "load": lambda _: mapper})()
        self.connections = Connections("mapper", world.link, Registry([entry]), world.clock, Random(7))
        self.by: dict[str, tuple[object, str]] = {}
        self.values: dict[str, list[object]] = {}

    def on_report(self, message) -> None:
        place = topics.parse_report(message.topic)
        report = codec.decode_report(message.payload, what="report")
        for name, value in report.values.items():
            self.by[f"{place.key.name}.{name}"] = (value, place.reporter)
            self.values.setdefault(f"{place.key.name}.{name}", []).append(value)

    def send(self, wanted: HostSettings) -> None:
        self.world.hub.link.publish(topics.mapper_config("mapper"), codec.encode(wanted), qos=1, retain=True)


@pytest.fixture
async def host(world, mapper_of, new_driver):
    world.made = []

    def make():
        world.made.append(new_driver())
        return world.made[-1]

    world.outbox.close()
    made = Host(world, mapper_of(make))
    await world.hub.link.subscribe(topics.ALL_REPORTS, made.on_report)
    task = asyncio.create_task(made.connections.run())
    yield made
    task.cancel()
    await asyncio.wait([task])


async def test_a_simulated_connection_is_never_opened_and_says_that_it_is_simulated(host, world):
    host.send(settings(("tank", True)))
    await world.passes(30)
    assert world.made == []
    value, reporter = host.by["tank.level"]
    assert 0 <= value <= 50
    assert reporter == "mapper.simulated"
    assert topics.is_simulated(reporter)
    assert len(set(host.values["tank.level"])) > 3


async def test_a_desired_value_is_taken_by_a_simulated_device(host, world):
    host.send(settings(("tank", True)))
    await world.passes(3)
    world.hub.desire(TwinKey.parse("tank"), valve=12.5)
    await world.passes(3)
    assert host.by["tank.valve"][0] == 12.5


async def test_a_mixed_connection_reads_the_real_devices_only(host, world):
    host.send(settings(("tank", True), ("pump", False)))
    await world.passes(3)
    (driver,) = world.made
    assert driver.count("read pump") > 0
    assert driver.count("read tank") == 0
    assert host.by["tank.level"][1] == "mapper.simulated"
    assert host.by["pump.level"][1] == "mapper"


async def test_the_switch_works_while_the_host_runs(host, world):
    host.send(settings(("tank", True)))
    await world.passes(3)
    host.send(settings(("tank", False)))
    await world.passes(3)
    assert host.by["tank.level"] == (0, "mapper")
    host.send(settings(("tank", True)))
    await world.passes(3)
    assert host.by["tank.level"][1] == "mapper.simulated"
    assert not world.made[0].is_open
