"""`edgetwin mapper simulate` without a hub: the values that a hub's simulator would give."""

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from edgehub.checking import Checked, checked
from edgehub.cli import application
from edgehub.documents import open_documents
from edgehub.serving import host_settings
from edgehub.simulation import StillSimulated, lent, simulated_values
from mappers.sdk.binding import bind_devices
from mappers.sdk.registry import Registry
from mappers.sdk.simulate import Simulator, simulated
from twin.errors import InvalidDocuments, LinkError
from twin.manifest.yaml import Source
from twin.wire.api import ApplyMode, ApplyRequest, DocumentSource

pytestmark = pytest.mark.fast

ROOT = Path(__file__).resolve().parents[2]
METER = ROOT / "docs/examples/meter.yaml"
SAMPLES = sorted([*(ROOT / "mappers").rglob("sample.yaml"), *(ROOT / "docs/examples").glob("*modbus.yaml")])


def run(*words: str):
    return CliRunner().invoke(application(("mapper", "simulate")), ["mapper", "simulate", *words])


def test_once_shows_a_value_of_each_property():
    done = run(str(METER), "--once")
    assert done.exit_code == 0
    rows = [line.split() for line in done.stdout.splitlines()]
    assert rows[0] == ["DEVICE", "PROPERTY", "VALUE", "UNIT"]
    assert [row[:2] for row in rows[1:]] == [["default/meter-1", name] for name in ("voltage", "energy", "limit")]
    values = json.loads(run(str(METER), "--once", "--json").stdout)["values"]
    assert [one["property"] for one in values] == ["voltage", "energy", "limit"]
    assert 0 <= values[2]["value"] <= 63


@pytest.mark.parametrize("path", SAMPLES, ids=lambda path: f"{path.parent.name}-{path.stem}")
def test_devices_of_every_protocol_can_be_simulated(path):
    done = run(str(path), "--once", "--json")
    assert done.exit_code == 0, done.stderr
    assert json.loads(done.stdout)["values"]


async def test_the_values_are_those_of_the_simulator_of_a_hub():
    registry = Registry.installed()
    found = checked([Source("meter.yaml", METER.read_bytes())], registry)
    (connection,) = host_settings(found.view, registry, "").connections
    (device,) = map(simulated, bind_devices(connection, registry.find("modbus")).devices)
    simulator = Simulator(lambda: 1234.5)
    readings = await simulator.read(simulator.plan(device.address, [bound.point for bound in device.points]))
    assert {one.name: one.value for one in simulated_values(found, registry, 1234.5)} == readings.values


def test_a_dry_run_shows_values_until_its_time_is_over():
    done = run(str(METER), "--dry-run", "--seconds", "0.3")
    assert done.exit_code == 0
    assert done.stdout.startswith("default/meter-1 voltage = 2")
    one, *_ = run(str(METER), "--dry-run", "--seconds", "0.3", "--json").stdout.splitlines()
    assert json.loads(one)["twin"] == "device/default/meter-1"


def test_devices_of_other_gateways_are_simulated_too(tmp_path):
    file = tmp_path / "meter.yaml"
    file.write_text(METER.read_text().replace("  connection: main-board", "  connection: main-board\n  gateway: far"))
    assert "default/meter-1" in run(str(file), "--once").stdout


def test_without_a_hub_the_exit_code_is_3_and_the_remedy_names_what_needs_none(tmp_path, monkeypatch):
    monkeypatch.setenv("EDGETWIN_STATE", str(tmp_path))
    done = run(str(METER))
    assert done.exit_code == 3
    assert "Or use --once or --dry-run, which need no hub." in done.stderr


def test_a_file_without_devices_and_a_file_with_mistakes_are_refused(tmp_path):
    file = tmp_path / "models.yaml"
    file.write_text(METER.read_text().partition("---")[0])
    done = run(str(file), "--once")
    assert (done.exit_code, "none of the documents is a device" in done.stderr) == (4, True)
    done = run(str(ROOT / "tests/golden/config/modbus/port-too-high.yaml"), "--once")
    assert (done.exit_code, "port 99999 is over 65535" in done.stderr) == (4, True)


class Hub:
    """The verb apply on a registry of its own; ``broken`` makes it fail like a hub that is lost."""

    def __init__(self, documents) -> None:
        self.documents = documents
        self.broken = False

    async def apply(self, sources, *, mode=ApplyMode.APPLY, dry_run=False):
        if self.broken:
            raise LinkError("no connection")
        return self.documents.apply(ApplyRequest(sources=sources, mode=mode, dry_run=dry_run))

    @property
    def simulated(self) -> dict[str, bool]:
        return {
            device.twin: device.simulate for one in self.documents.host_settings().connections for device in one.devices
        }


@pytest.fixture
def hub(tmp_path):
    with open_documents(tmp_path / "registry.json", "gw-1") as documents:
        yield Hub(documents)


def meter(text: str = "") -> Checked:
    return checked([Source("meter.yaml", (text or METER.read_text()).encode())], Registry.installed())


def one_source(text: str = "") -> list[DocumentSource]:
    return [DocumentSource(name="meter.yaml", text=text or METER.read_text())]


async def test_documents_that_a_hub_does_not_have_are_there_for_a_while(hub):
    async with lent(hub, meter()) as reply:
        assert {change.action for change in reply.changes} == {"created"}
        assert hub.simulated == {"device/default/meter-1": True}
    assert hub.simulated == {}


async def test_what_a_hub_has_is_put_back_and_what_it_has_not_is_deleted(hub):
    model, connection, device = METER.read_text().split("---\n")
    await hub.apply(one_source())
    second = device.replace("meter-1", "meter-2").replace("north", "south")
    async with lent(hub, meter("---\n".join((model, connection, device, second)))):
        assert hub.simulated == {"device/default/meter-1": True, "device/default/meter-2": True}
    assert hub.simulated == {"device/default/meter-1": False}


async def test_what_a_hub_has_otherwise_is_refused_and_nothing_changed(hub):
    await hub.apply(one_source())
    with pytest.raises(InvalidDocuments, match="other documents of these names: Connection default/main-board"):
        async with lent(hub, meter(METER.read_text().replace("port: 502", "port: 503"))):
            pytest.fail("it was lent")
    assert hub.simulated == {"device/default/meter-1": False}


async def test_a_hub_that_is_lost_meanwhile_is_said_with_what_to_do(hub):
    with pytest.raises(StillSimulated, match="were not put back: no connection"):
        async with lent(hub, meter()):
            hub.broken = True
    assert hub.simulated == {"device/default/meter-1": True}
