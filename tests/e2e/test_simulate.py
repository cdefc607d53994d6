"""`edgetwin mapper simulate` on a running gateway: values move, writes are taken, and afterwards all is as it was."""

import asyncio
import subprocess
import sys
from pathlib import Path

from tests.e2e.rig import DOCUMENTS
from twin.wire import topics
from twin.wire.api import TwinBody

METER = Path(__file__).resolve().parents[2] / "docs/examples/meter.yaml"


def start(hub, *words: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-u", "-c", "from edgehub.cli import main; main()", "mapper", "simulate", *words],
        env=hub.environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


async def twin_when(client, key: str, wanted, timeout_s: float = 15.0) -> TwinBody | None:
    """The twin, or that it is gone, as soon as it is as wanted."""
    async with asyncio.timeout(timeout_s), client.watch(kind="device") as events:
        async for event in events:
            if event.twin == key and wanted(event.body):
                return event.body
    raise AssertionError("the watch ended")


def by(name: str, reporter_is_simulated: bool):
    def fits(body: TwinBody | None) -> bool:
        leaf = body.reported.get(name) if body is not None else None
        return leaf is not None and topics.is_simulated(leaf.by) is reporter_is_simulated

    return fits


async def test_devices_that_the_gateway_does_not_have_come_move_obey_and_go(hub):
    child = start(hub, str(METER))
    async with hub.client() as client:
        first = await twin_when(client, "device/default/meter-1", by("voltage", True))
        assert 210 < first.reported["voltage"].value < 250
        await client.set("device/default/meter-1", {"limit": 16})
        obeyed = await twin_when(
            client,
            "device/default/meter-1",
            lambda body: body is not None and "limit" in body.reported and body.reported["limit"].value == 16,
        )
        assert obeyed.delta == {}
        moved = await twin_when(
            client,
            "device/default/meter-1",
            lambda body: body is not None and body.reported["voltage"].value != first.reported["voltage"].value,
        )
        assert topics.is_simulated(moved.reported["voltage"].by)
        child.send_signal(2)
        output, errors = await asyncio.to_thread(child.communicate, timeout=30)
        assert (child.returncode, errors) == (0, "simulating default/meter-1; then all is put back\n")
        assert "default/meter-1 voltage = " in output
    assert '"twins":[]' in hub.run("get", "--json").stdout.replace(" ", "")
    assert hub.run("diff", "-f", str(METER)).returncode == 1  # none of them is left


async def test_a_device_of_the_gateway_is_simulated_meanwhile_and_read_again_afterwards(hub, plant, tmp_path):
    file = tmp_path / "bench.yaml"
    file.write_text(DOCUMENTS.replace("${PORT}", str(plant.port)))
    async with hub.client() as client:
        real = await twin_when(client, "device/default/v1", by("flow", False))
        assert real.reported["flow"].value == 17
        child = start(hub, str(file), "--seconds", "3", "--json")
        await twin_when(client, "device/default/v1", by("flow", True))
        output, errors = await asyncio.to_thread(child.communicate, timeout=30)
        assert child.returncode == 0, errors
        assert '"twin":"device/default/v1"' in output
        again = await twin_when(client, "device/default/v1", by("flow", False))
        assert again.reported["flow"].value == 17
    assert hub.run("diff", "-f", str(file)).stdout == ""


async def test_documents_that_differ_from_those_of_the_gateway_are_refused(hub, plant, tmp_path):
    file = tmp_path / "bench.yaml"
    file.write_text(DOCUMENTS.replace("${PORT}", "9"))
    done = await asyncio.to_thread(hub.run, "mapper", "simulate", str(file))
    assert done.returncode == 4
    assert done.stderr == (
        "error: the gateway has other documents of these names: Connection default/bench\n"
        "  Apply the file first, or give its documents other names.\n"
    )
