"""Finding units: behind hosts that say who they are and hosts that do not, on a line, and as a command."""

from __future__ import annotations

import json

import pytest
import yaml
from typer.testing import CliRunner

from edgehub.checking import checked
from edgehub.cli import application
from mappers.modbus.config import ModbusConnection, ModbusScan, unit_range
from mappers.modbus.driver import ModbusDriver
from mappers.sdk.capability import capabilities
from mappers.sdk.driver import Capability
from mappers.sdk.registry import Registry
from twin.manifest.yaml import Source


async def found(driver, units="1-247", told=None):
    tell = (lambda progress: None) if told is None else told.append
    return [one async for one in driver.discover(ModbusScan(units=units), tell)]


async def test_a_unit_says_who_it_is(modbus_serial, connect):
    driver = await connect(modbus_serial(9, "Acme", "Flow 3", "2.1"), timeoutMs=400)
    told = []
    (one,) = await found(driver, "1-2,9", told)
    assert one.name == "acme-flow-3-9"
    assert one.address == {"unit": 9}
    assert one.identity == {"vendor": "Acme", "product": "Flow 3", "revision": "2.1", "name": "Flow 3 of the hall"}
    assert [point.name for point in one.points] == ["holding-0", "input-0", "coil-0", "discrete-0"]
    assert [(progress.done, progress.of) for progress in told] == [(0, 3), (1, 3), (2, 3), (3, 3)]


async def test_a_unit_without_identification_is_asked_for_its_report(serve, connect):
    (one,) = await found(await connect(serve("--tcp", 0, "--units", 5, 5).port, timeoutMs=400), "4-6")
    assert one.address == {"unit": 5}
    assert "LMB3" in one.identity["product"]


async def test_a_unit_that_says_nothing_of_itself_is_a_device_all_the_same(scripted, connect):
    async def answer(unit, pdu):
        return bytes([pdu[0] | 0x80, 1 if pdu[0] > 4 else 2]) if unit == 3 else None

    (one,) = await found(await connect((await scripted(answer)).port, timeoutMs=200), "1-4")
    assert (one.name, one.identity, one.points) == ("unit-3", {}, ())


async def test_a_gateway_that_says_who_is_not_there_is_believed(scripted, connect):
    async def answer(unit, pdu):
        return b"\x03\x02\0\0" if unit == 2 and pdu[0] == 3 else bytes([pdu[0] | 0x80, 1 if unit == 2 else 11])

    driver = await connect((await scripted(answer)).port, timeoutMs=60_000)
    assert [one.address for one in await found(driver)] == [{"unit": 2}]


async def test_a_host_that_answers_for_every_unit_is_one_device(serve, connect):
    assert [one.address for one in await found(await connect(serve("--tcp", 0).port))] == [{"unit": 1}]


async def test_units_on_a_line(serve, serial_pair):
    device, gateway = serial_pair
    serve("--rtu", device, "--units", 3, 5, "--dead", 4)
    driver = ModbusDriver(ModbusConnection.model_validate({"serialPort": str(gateway), "timeoutMs": 300}))
    await driver.connect()
    assert [one.address for one in await found(driver, "0-6")] == [{"unit": 3}, {"unit": 5}]
    await driver.close()


@pytest.mark.fast
def test_units_are_ranges():
    assert list(unit_range("1-3, 7,255")) == [1, 2, 3, 7, 255]


@pytest.mark.fast
@pytest.mark.parametrize("units", ["", "x", "3-1", "1-256", "1--2", "\u0661"])
def test_what_is_no_range_of_units_is_refused(units):
    with pytest.raises(
        ValueError, match="is not a list of units and ranges within 0 to 255; for example units: 1-20,32"
    ):
        ModbusScan(units=units)


@pytest.mark.fast
def test_the_driver_offers_what_the_mapper_says():
    assert capabilities(ModbusDriver) == {Capability.DISCOVER}


def test_the_command_writes_documents_that_fit(serve, tmp_path):
    port = serve("--tcp", 0, "--units", 5, 6).port
    written = tmp_path / "line.yaml"
    words = ["mapper", "scan", "modbus", "host=127.0.0.1", f"port={port}", "units=4-7", "timeoutMs=300", "--json"]
    done = CliRunner().invoke(application(words), [*words, "--write", str(written), "--name", "hall"])
    assert done.exit_code == 0, done.output
    shown = json.loads(done.stdout)
    assert [one["address"] for one in shown["devices"]] == [{"unit": 5}, {"unit": 6}]
    assert shown["whole"]
    checked([Source("line.yaml", written.read_bytes())], Registry.installed())
    documents = list(yaml.safe_load_all(written.read_text()))
    assert [one["kind"] for one in documents] == ["Connection", "DeviceModel", "Device", "Device"]
    assert documents[0]["spec"]["config"]["timeoutMs"] in (300, "300")
