"""`edgetwin mapper list` and `schema`, with plugins as pip installs them."""

import json
import re
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from edgehub.cli import MAPPER_COMMANDS, application
from mappers.ble.driver import BleDriver
from mappers.modbus.driver import ModbusDriver
from mappers.opcua.driver import OpcuaDriver
from mappers.sdk.capability import capabilities
from mappers.sdk.registry import Registry
from mappers.serialgpio.firmata_driver import FirmataDriver

pytestmark = pytest.mark.fast

GOOD = """
from mappers.sdk import Capability, ConnectionConfig, DeviceConfig, Mapper, PointConfig
MAPPER = Mapper("good", ConnectionConfig, DeviceConfig, PointConfig, None, {"good-tcp": ""},
                capabilities=frozenset({Capability.DISCOVER}))
"""


def run(*words: str):
    return CliRunner().invoke(application(words), list(words))


@pytest.fixture
def install(tmp_path: Path, monkeypatch):
    """Put a package with one mapper beside those that are there."""

    def put(name: str, text: str, package: str = "") -> None:
        package = package or f"edgetwin-mapper-{name}"
        module = f"{package.replace('-', '_')}_module"
        folder = tmp_path / package
        (folder / f"{package.replace('-', '_')}-1.2.dist-info").mkdir(parents=True)
        (folder / f"{module}.py").write_text(text)
        (meta,) = folder.glob("*.dist-info")
        (meta / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {package}\nVersion: 1.2\n")
        (meta / "entry_points.txt").write_text(f"[edgetwin.mappers]\n{name} = {module}:MAPPER\n")
        monkeypatch.syspath_prepend(folder)
        sys.modules.pop(module, None)  # another test may have had one of this name

    return put


def test_the_list_has_the_built_in_mappers_and_what_they_offer():
    done = run("mapper", "list")
    assert done.exit_code == 0
    assert re.search(r"^modbus +edgetwin ", done.stdout, re.MULTILINE)
    rows = {row["name"]: row for row in json.loads(run("mapper", "list", "--json").stdout)["mappers"]}
    assert rows["opcua"]["capabilities"] == ["discover", "subscribe"]
    assert rows["modbus"]["kubeedge"] == ["modbus", "modbus-rtu", "modbus-tcp"]
    assert rows["modbus"]["entryPoint"] == "mappers.modbus:MAPPER"


def test_a_plugin_is_listed_with_its_package(install):
    install("good", GOOD)
    rows = json.loads(run("mapper", "list", "--json").stdout)["mappers"]
    (good,) = [row for row in rows if row["name"] == "good"]
    assert good["package"] == "edgetwin-mapper-good 1.2"
    assert (good["capabilities"], good["kubeedge"], good["error"]) == (["discover"], ["good-tcp"], None)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (
            "import no_such_library\n",
            "cannot be imported: ModuleNotFoundError: No module named 'no_such_library'"
            " (edgetwin_mapper_bad_module.py, line 1)",
        ),
        ("def f(:\n", "cannot be imported: SyntaxError: invalid syntax (edgetwin_mapper_bad_module.py, line 1)"),
        (
            "x = 1\nraise SystemExit(3)\n",
            "cannot be imported: SystemExit: 3 (edgetwin_mapper_bad_module.py, line 2)",
        ),
        (
            "OTHER = 1\n",
            "cannot be imported: AttributeError: module 'edgetwin_mapper_bad_module' has no attribute 'MAPPER'",
        ),
        ("MAPPER = 42\n", "is a int, not a mappers.sdk.Mapper"),
        (GOOD, "calls itself 'good'"),
    ],
)
def test_a_broken_plugin_is_said_precisely_and_harms_no_other(install, text, said):
    install("bad", text)
    done = run("mapper", "list")
    assert done.exit_code == 1
    assert f"error: mapper 'bad' (edgetwin_mapper_bad_module:MAPPER) {said}\n  " in done.stderr
    assert "mappers.opcua:MAPPER" in done.stdout
    assert "broken" in done.stdout
    assert run("mapper", "schema", "modbus").exit_code == 0


def test_two_packages_with_one_name_are_both_refused(install):
    install("good", GOOD)
    install("good", GOOD, package="other")
    done = run("mapper", "list")
    assert done.exit_code == 1
    assert "error: mapper 'good' is offered more than once: " in done.stderr
    assert "other_module:MAPPER of other 1.2" in done.stderr
    assert "edgetwin_mapper_good_module:MAPPER of edgetwin-mapper-good 1.2" in done.stderr


@pytest.mark.parametrize(
    ("name", "driver"),
    [("ble", BleDriver), ("modbus", ModbusDriver), ("opcua", OpcuaDriver), ("serialgpio", FirmataDriver)],
)
def test_a_mapper_says_of_its_driver_what_is_so(name, driver):
    assert Registry.installed().find(name).capabilities == capabilities(driver)


def test_a_schema_holds_every_key_as_it_is_written():
    whole = json.loads(run("mapper", "schema", "modbus").stdout)
    assert set(whole["properties"]) == {"connection", "device", "point", "scan"}
    assert "wordOrder" in whole["$defs"]["ModbusPoint"]["properties"]
    part = json.loads(run("mapper", "schema", "opcua", "--kind", "scan").stdout)
    assert part["properties"]["maxNodes"]["maximum"] == 1_000_000
    assert set(json.loads(run("mapper", "schema", "opcua").stdout)["properties"]) >= {"scan"}


def test_the_schema_of_a_mapper_that_is_not_there_is_refused():
    done = run("mapper", "schema", "zigbee")
    assert done.exit_code == 4
    assert done.stderr.startswith("error: mapper 'zigbee' is not installed; installed are ")


@pytest.mark.parametrize("word", MAPPER_COMMANDS)
def test_each_command_has_an_example(word):
    assert f"Example: edgetwin mapper {word}" in run("mapper", word, "--help").stdout
