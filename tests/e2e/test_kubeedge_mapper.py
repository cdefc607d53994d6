"""A mapper written to KubeEdge's topics, with a client library and no line of ours, on a running gateway."""

import asyncio
import subprocess
import sys
from pathlib import Path

import pytest

from tests.e2e.rig import until
from tests.e2e.test_kubeedge import prepared

MAPPER = Path(__file__).parents[1] / "peers" / "kubeedge_mapper.py"


class Supervised:
    """The mapper as a child that is started again when it ends, for the broker learns of a login within two seconds."""

    def __init__(self, argv, said):
        self.argv = [sys.executable, str(MAPPER), *argv]
        self.said = said
        self.child = None

    def lines(self):
        return self.said.read_text().splitlines() if self.said.exists() else []

    def up(self):
        if self.child is None or self.child.poll() is not None:
            with self.said.open("ab") as out:
                self.child = subprocess.Popen(self.argv, stdout=out, stderr=out)
        return "up" in self.lines() or None

    def end(self):
        self.child.kill()
        self.child.wait()


@pytest.mark.parametrize("name", ["default/lamp", "lamp"])
async def test_an_unchanged_mapper_with_a_login_reports_and_does_what_is_desired(hub, tmp_path, name):
    await prepared(hub)
    made = await asyncio.to_thread(hub.run, "account", "create", "mapper-1", "--device", "lamp")
    access = await hub.access()
    login = ("mapper-1", made.stdout.split()[-1])
    mapper = Supervised([access.host, str(access.port), name, *login], tmp_path / "mapper.log")
    try:
        await until(mapper.up, 20, lambda: "\n".join(mapper.lines()))
        async with hub.client() as client:
            async with client.watch("lamp") as events, asyncio.timeout(10):
                await client.set("lamp", {"power": 70})
                async for event in events:
                    body = event.body
                    if body is not None and "power" in body.reported and body.reported["power"].value == 70:
                        break
            assert (await client.get("lamp")).delta == {}
        assert "did power 70" in mapper.lines()
        results = [line for line in mapper.lines() if line.startswith("result")]
        assert results
        assert all(line.endswith(" 0") for line in results)
    finally:
        mapper.end()
