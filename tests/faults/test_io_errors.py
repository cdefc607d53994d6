"""A disk that fails in fsync and write: nothing is acknowledged falsely, the gateway alarms, lives on and heals."""

import asyncio
import contextlib
import os
import random
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from edgehub.state import StateFolder
from tests.e2e.conftest import stopped_hub  # noqa: F401  # a fixture
from tests.e2e.rig import DOCUMENTS, Hub
from tests.faults import fiu
from tests.faults.writer import read_twins
from twin.errors import StoreError
from twin.wire.api import DocumentSource

ROOT = Path(__file__).resolve().parents[2]
pytestmark = pytest.mark.skipif(not fiu.installed(), reason=fiu.MISSING)
FAULTS = [
    pytest.param(fiu.FSYNC, fiu.IO_ERROR, id="fsync"),
    pytest.param(fiu.PWRITE, fiu.NO_SPACE, id="no-space"),
    pytest.param(fiu.PWRITE, fiu.IO_ERROR, id="write"),
]


class Writer:
    """The writer of tests/faults with libfiu in it, and what it acknowledged and refused."""

    def __init__(self, folder: Path) -> None:
        self.acked: dict[str, int] = {}
        self.counts = {"acked": 0, "refused": 0}
        self.process = subprocess.Popen(
            [sys.executable, "-m", "tests.faults.writer", "twins", str(folder)],
            cwd=ROOT, env={**os.environ, **fiu.environment(folder)}, stdout=subprocess.PIPE, text=True,
        )  # fmt: skip
        self._thread = threading.Thread(target=self._read)
        self._thread.start()

    def _read(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            if line.endswith("\n"):
                name, value = line.split()
                self.counts["refused" if name == "refused" else "acked"] += 1
                if name != "refused":
                    self.acked[name] = int(value)

    def wait(self, what: str, more: int, context: str) -> None:
        goal, deadline_s = self.counts[what] + more, time.monotonic() + 30
        while self.counts[what] < goal:
            assert self.process.poll() is None, f"the writer ended, {context}"
            assert time.monotonic() < deadline_s, f"{self.counts}, {context}"
            time.sleep(0.002)

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()
        self._thread.join(10)
        assert self.process.stdout is not None
        self.process.stdout.close()


@pytest.mark.parametrize(("calls", "errno"), FAULTS)
@pytest.mark.parametrize("rounds", [2, pytest.param(60, marks=[pytest.mark.torture, pytest.mark.timeout(900)])])
def test_a_writer_on_a_failing_disk_acknowledges_nothing_falsely_and_heals(tmp_path, calls, errno, rounds):
    rng = random.Random(rounds)
    refused = 0
    for number in range(rounds):
        context = f"seed {rounds}, round {number}"
        writer = Writer(tmp_path)
        try:
            writer.wait("acked", 10, context)
            fiu.fail(tmp_path, writer.process.pid, calls, errno, rng.choice([0.05, 0.2, 0.6]))
            writer.wait("refused", rng.randrange(3, 30), context)
            healed = rng.random() < 0.7  # else it is killed while the disk fails
            if healed:
                fiu.heal(tmp_path, writer.process.pid, calls)
                writer.wait("acked", 20, context)
        finally:
            writer.kill()
        refused += writer.counts["refused"]
        found = read_twins(tmp_path)
        for name, value in writer.acked.items():
            assert found[name] >= value, context
    assert refused > 0


async def fails(calls) -> bool:
    with contextlib.suppress(StoreError):
        await calls
        return False
    return True


@pytest.mark.parametrize(("calls", "errno"), FAULTS)
async def test_a_gateway_on_a_failing_disk_refuses_alarms_and_heals(
    stopped_hub: Hub,  # noqa: F811  # the fixture
    tmp_path,
    calls,
    errno,
):
    hub = stopped_hub
    hub.environment |= fiu.environment(tmp_path)
    hub.start()
    await hub.ready()
    assert hub.process is not None
    pid = hub.process.pid
    documents = DocumentSource(name="x.yaml", text=DOCUMENTS.replace("${PORT}", "1502"))
    async with hub.client() as client:
        await client.apply([documents])
        await client.set("free", {"count": 1})
        async with asyncio.timeout(20):
            while not (status := await client.status()).web:  # the last that is started: without its login it is off
                pass
        restarts = [child.restarts for child in status.children]
        fiu.fail(tmp_path, pid, calls, errno)
        for number in range(2, 12):
            assert await fails(client.set("free", {"count": number}))
        status = await client.status()
        assert "takes no changes" in status.alarms[0]
        refused, read = await asyncio.gather(fails(client.set("free", {"count": 12})), client.get("free"))
        assert refused
        assert read.desired["count"].value == 1
        fiu.heal(tmp_path, pid, calls)
        async with asyncio.timeout(10):
            while await fails(client.set("free", {"count": 20})):
                pass
        status = await client.status()
        assert status.alarms == []
        assert [child.restarts for child in status.children] == restarts
        assert status.pid == pid
    hub.kill()
    hub.start()
    async with hub.client() as client:
        assert (await client.get("free")).desired["count"].value == 20
        assert (await client.status()).alarms == []


async def test_documents_and_accounts_on_a_failing_disk_are_refused_with_a_clear_error(
    stopped_hub: Hub,  # noqa: F811  # the fixture
    tmp_path,
):
    hub = stopped_hub
    hub.environment |= fiu.environment(tmp_path)
    hub.start()
    await hub.ready()
    assert hub.process is not None
    documents = DocumentSource(name="x.yaml", text=DOCUMENTS.replace("${PORT}", "1502"))
    async with hub.client() as client:
        fiu.fail(tmp_path, hub.process.pid, fiu.FSYNC, fiu.IO_ERROR)
        with pytest.raises(StoreError, match=r"registry\.json") as caught:
            await client.apply([documents])
        assert "health of its disk" in caught.value.remedy
        fiu.heal(tmp_path, hub.process.pid, fiu.FSYNC)
        await client.apply([documents])
    hub.environment["FIU_ENABLE"] = f"enable name={fiu.FSYNC},failinfo={fiu.IO_ERROR}"
    made = await asyncio.to_thread(hub.run, "account", "create", "rig", "--device", "free")
    assert made.returncode == 5, made
    assert "accounts.json cannot be written" in made.stderr
    assert "password" not in made.stdout
    assert StateFolder(hub.folder.path).logins.exists() is False
