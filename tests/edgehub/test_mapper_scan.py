"""`edgetwin mapper scan` with a driver that finds what its test says, and with a server of OPC UA."""

import asyncio
import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from asyncua import Server, ua
from hypothesis import given
from hypothesis import strategies as st
from typer.testing import CliRunner

from edgehub.checking import checked
from edgehub.cli import application
from edgehub.commands.mapper_scan import Shown
from edgehub.found import Place, documents, plain_name
from mappers.sdk import Access, FoundDevice, FoundPoint, Progress, ValueType
from mappers.sdk.registry import Registry
from tests.ports import free_port
from twin.manifest.yaml import Source

ROOT = Path(__file__).resolve().parents[2]
EDGETWIN = (sys.executable, "-u", "-c", "from edgehub.cli import main; main()")
FINDER = """
import asyncio
from pydantic import SecretStr
from mappers.sdk import (Access, Capability, ConnectionConfig, DeviceConfig, FoundDevice, FoundPoint, Mapper,
                         NotConnected, PointConfig, Progress, ScanConfig, ValueType)

class Line(ConnectionConfig):
    host: str
    port: int = 7
    password: SecretStr = SecretStr("")

class Look(ScanConfig):
    count: int = 2
    hang: bool = False
    fail: str = ""

class Unit(DeviceConfig):
    unit: int

class Place(PointConfig):
    at: int

class Driver:
    def __init__(self, config): self.config = config
    async def connect(self):
        if self.config.host == "gone": raise NotConnected("gone does not answer", remedy="Is it on?")
    async def close(self): print("closed")
    def plan(self, device, points): ...
    async def read(self, plan): ...
    async def write(self, device, point, value): ...
    async def discover(self, wanted, tell):
        for number in range(wanted.count):
            tell(Progress(number, wanted.count, "units"))
            point = FoundPoint("speed", ValueType.INT, Access.READ_WRITE, {"at": number}, "rpm", "shaft")
            fixed = FoundPoint("serial", ValueType.STRING, Access.READ_ONLY, {"at": 99})
            identity = {"vendor": "Acme\\nkind: Nonsense", "product": "P1"}
            yield FoundDevice("Pump", {"unit": number}, (point, fixed), "a pump", identity)
        if wanted.hang: await asyncio.Event().wait()
        if wanted.fail: raise RuntimeError(wanted.fail)

class Mute(Driver):
    discover = None

MUTE = Mapper("mute", Line, Unit, Place, Mute)
MAPPER = Mapper("finder", Line, Unit, Place, Driver, scan=Look, capabilities=frozenset({Capability.DISCOVER}))
"""


@pytest.fixture
def finder(tmp_path, monkeypatch):
    folder = tmp_path / "finder-site"
    (folder / "finder-1.0.dist-info").mkdir(parents=True)
    (folder / "finder_of_test.py").write_text(FINDER)
    (folder / "finder-1.0.dist-info/METADATA").write_text("Metadata-Version: 2.1\nName: finder\nVersion: 1.0\n")
    (folder / "finder-1.0.dist-info/entry_points.txt").write_text(
        "[edgetwin.mappers]\nfinder = finder_of_test:MAPPER\nmute = finder_of_test:MUTE\n"
    )
    sys.modules.pop("finder_of_test", None)
    monkeypatch.syspath_prepend(folder)
    return folder


def run(*words: str):
    return CliRunner().invoke(application(words), ["mapper", "scan", *words[2:]])


def scan(*words: str):
    return run("mapper", "scan", *words)


@pytest.mark.fast
def test_what_was_found_is_shown_and_the_driver_closed(finder):
    done = scan("finder", "host=here", "count=3")
    assert done.exit_code == 0
    assert done.stdout.startswith("closed\nDEVICE  ADDRESS  PROPERTIES     SAYS")
    assert done.stdout.count("Pump    unit=") == 3
    assert "found Pump  unit=0\n" in done.stderr


@pytest.mark.fast
def test_json_has_all_of_it_and_nothing_else(finder):
    done = scan("finder", "host=here", "--json")
    found = json.loads(done.stdout.removeprefix("closed\n"))
    assert found["whole"] is True
    assert [one["address"] for one in found["devices"]] == [{"unit": 0}, {"unit": 1}]
    assert found["devices"][1]["properties"][0] == {
        "name": "speed",
        "type": "INT",
        "access": "ReadWrite",
        "unit": "rpm",
        "visitor": {"at": 1},
    }


@pytest.mark.fast
def test_the_documents_that_are_written_are_taken(finder, tmp_path):
    target = tmp_path / "plant.yaml"
    done = scan("finder", "host=here", "password=4711", "--write", str(target), "--name", "hall", "-n", "plant")
    assert done.exit_code == 0, done.output
    assert f"Written to {target}; `edgetwin apply -f {target}` takes it.\n" in done.stdout
    assert target.stat().st_mode & 0o777 == 0o600
    connection, model, *two = yaml.safe_load_all(target.read_text())
    assert connection["spec"] == {"mapper": "finder", "config": {"host": "here", "password": "4711"}}
    assert connection["metadata"] == {"namespace": "plant", "name": "hall"}
    speed, serial = model["spec"]["properties"]
    assert speed == {
        "name": "speed",
        "type": "INT",
        "accessMode": "ReadWrite",
        "unit": "rpm",
        "description": "shaft",
    }
    assert serial["visitors"] == {"configData": {"at": 99}}
    assert [one["metadata"]["name"] for one in two] == ["pump", "pump-2"]
    assert two[1]["spec"] == {
        "deviceModelRef": {"name": "pump"},
        "connection": "hall",
        "address": {"unit": 1},
        "properties": [{"name": "speed", "visitors": {"configData": {"at": 1}}}],
    }
    assert "# vendor: Acme kind: Nonsense\n" in target.read_text()
    again = scan("finder", "host=here", "--write", str(target))
    assert (again.exit_code, "is there already" in again.stderr) == (4, True)


@pytest.mark.fast
def test_nothing_found_is_exit_code_1_and_writes_nothing(finder, tmp_path):
    done = scan("finder", "host=here", "count=0", "--write", str(tmp_path / "x.yaml"))
    assert (done.exit_code, done.stdout) == (1, "closed\nNo devices found.\n")
    assert not (tmp_path / "x.yaml").exists()


@pytest.mark.fast
def test_a_scan_that_takes_too_long_ends_with_what_was_found(finder, tmp_path):
    target = tmp_path / "plant.yaml"
    done = scan("finder", "host=here", "hang=true", "--seconds", "0.2", "--write", str(target))
    assert done.exit_code == 0
    assert "ended early; this is what was found until then\n" in done.stderr
    assert "closed" in done.stdout
    assert len(list(yaml.safe_load_all(target.read_text()))) == 4
    done = scan("finder", "host=here", "hang=true", "--seconds", "0.2", "--json")
    assert json.loads(done.stdout.removeprefix("closed\n"))["whole"] is False


def test_ctrl_c_ends_it_with_what_was_found(finder):
    child = subprocess.Popen(
        [*EDGETWIN, "mapper", "scan", "finder", "host=here", "hang=true"],
        env={**os.environ, "PYTHONPATH": os.pathsep.join((str(finder), str(ROOT)))},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    for line in child.stderr:
        if "unit=1" in line:
            break
    child.send_signal(signal.SIGINT)
    output, errors = child.communicate(timeout=30)
    assert (child.returncode, output.count("unit=")) == (0, 2)
    assert "Traceback" not in errors


@pytest.mark.fast
@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (["zigbee"], 4, "error: mapper 'zigbee' is not installed"),
        (
            ["mute", "host=192.0.2.1"],
            4,
            "error: mapper mute cannot look for devices\n  `edgetwin mapper list` shows which can",
        ),
        (["finder"], 4, "error: host: host is missing\n  Add it: a text.\n"),
        (["finder", "host"], 4, "error: 'host' is not key=value\n  Write for instance host=192.0.2.10; `edgetwin"),
        (["finder", "host=x", "port=y"], 4, "error: port: port 'y' is not a whole number\n  Write a whole number.\n"),
        (["finder", "host=x", "cuont=1"], 4, "error: cuont: the key cuont is not known here\n  Did you mean count?"),
        (["finder", "host=x", "count=many"], 4, "error: count: count 'many' is not a whole number\n"),
        (["finder", "host=gone"], 5, "error: gone does not answer\n  Is it on?\n"),
        (["finder", "host=x", "fail=boom"], 5, "error: mapper finder failed: RuntimeError: boom\n  This is a fault"),
    ],
)
def test_what_is_wrong_is_said(finder, words, code, said):
    done = scan(*words)
    assert done.exit_code == code, done.output
    assert said in done.stderr


@pytest.mark.fast
@pytest.mark.parametrize(
    ("terminal", "shown"),
    [
        (False, "9 of 9 unit\nfound a\n"),
        (True, "\r\x1b[K5 of 9 unit\r\x1b[K9 of 9 unit\r\x1b[Kfound a\n\r\x1b[K"),
    ],
)
def test_progress_is_a_line_that_moves_on_a_terminal_and_a_line_now_and_then_elsewhere(terminal, shown, capsys):
    times = iter([0.0, 0.05, 0.5, 3.0])
    progress = Shown(terminal, lambda: next(times))
    for done in (1, 5, 9):
        progress.tell(Progress(done, 9, "unit\x1b"))
    progress.say("found a")
    progress.end()
    assert capsys.readouterr().err == shown


TEXTS = st.text(max_size=30)
POINTS = st.builds(
    FoundPoint,
    st.from_regex(r"[A-Za-z0-9_.,:/@#-]{1,20}", fullmatch=True),
    st.sampled_from(ValueType),
    st.sampled_from(Access),
    st.fixed_dictionaries({"nodeId": st.integers(0, 9).map(lambda number: f"ns=2;i={number}")}),
    st.sampled_from(["", "°C", "on", "1e3"]),
    TEXTS,
)
FOUND = st.builds(
    FoundDevice,
    TEXTS,
    st.just({"node": "i=85"}),
    st.lists(POINTS, max_size=4, unique_by=lambda point: point.name).map(tuple),
    TEXTS,
    st.dictionaries(TEXTS, TEXTS, max_size=2),
)


@pytest.mark.fast
@given(st.lists(FOUND, max_size=5), TEXTS)
def test_whatever_was_found_becomes_documents_that_are_taken(found, title):
    place = Place(plain_name(title), "plant", "opcua", {"url": "opc.tcp://192.0.2.20:4840"})
    view = checked([Source("found.yaml", documents(place, found).encode())], Registry.installed()).view
    names = [str(ref) for ref in view.stored]
    assert len([name for name in names if name.startswith("Device ")]) == len(found)


async def test_a_server_of_opc_ua_is_browsed_into_documents(tmp_path):
    """As docs/opcua.md shows it."""
    server = Server()
    await server.init()
    port = free_port()
    server.set_endpoint(f"opc.tcp://127.0.0.1:{port}")
    index = await server.register_namespace("urn:plant")
    pump = await server.nodes.objects.add_object(index, "Pump 1")
    speed = await pump.add_variable(index, "Speed", 1450.0, ua.VariantType.Double)
    await speed.set_writable()
    await pump.add_variable(index, "Serial", "P-7")
    target = tmp_path / "plant.yaml"
    async with server:
        child = await asyncio.create_subprocess_exec(
            *EDGETWIN,
            *("mapper", "scan", "opcua", f"url=opc.tcp://127.0.0.1:{port}", f"pki={tmp_path / 'pki'}"),
            *("maxDepth=2", "--write", str(target)),
            env={**os.environ, "PYTHONPATH": str(ROOT)},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        output, errors = await child.communicate()
    assert child.returncode == 0, errors.decode()
    assert "pump-1" in output.decode()
    listed = list(yaml.safe_load_all(target.read_text()))
    (device,) = [one for one in listed if one["metadata"]["name"] == "pump-1" and one["kind"] == "Device"]
    (model,) = [one for one in listed if one["metadata"]["name"] == "pump-1" and one["kind"] == "DeviceModel"]
    assert {one["name"]: one["type"] for one in model["spec"]["properties"]} == {"Speed": "DOUBLE", "Serial": "STRING"}
    assert model["spec"]["properties"][0]["accessMode"] == "ReadWrite"
    assert device["spec"]["connection"] == "opcua"
