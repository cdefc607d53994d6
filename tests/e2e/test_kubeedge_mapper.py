"""A mapper written to KubeEdge's topics, with a client library and no line of ours, on a running gateway."""

import asyncio
import subprocess
import sys
from pathlib import Path

import pytest

from tests.e2e.rig import until
from tests.e2e.test_kubeedge import prepared

MAPPER = Path(__file__).parents[1] / "peers" / "kubeedge_mapper.py"


@pytest.mark.parametrize("name", ["default/lamp", "lamp"])
async def test_an_unchanged_mapper_with_a_login_reports_and_does_what_is_desired(hub, tmp_path, name):
    await prepared(hub)
    made = await asyncio.to_thread(hub.run, "account", "create", "mapper-1", "--device", "lamp")
    access = await hub.access()
    said = tmp_path / "mapper.log"
    login = ["mapper-1", made.stdout.split()[-1]]

    def lines():
        return said.read_text().splitlines()

    with said.open("wb") as out:
        # The broker learns of the login within two seconds; a mapper of a supervisor's would be started again as well.
        process = subprocess.Popen(["/bin/true"])
        try:
            for _ in range(50):
                if "up" in lines():
                    break
                if process.poll() is not None:
                    argv = [sys.executable, str(MAPPER), access.host, str(access.port), name, *login]
                    process = subprocess.Popen(argv, stdout=out, stderr=out)
                await until(lambda: "up" in lines() or process.poll() is not None or None, 10)
            await until(lambda: "up" in lines() or None, 10, said.read_text)
            async with hub.client() as client:
                async with client.watch("lamp") as events:
                    await client.set("lamp", {"power": 70})
                    async with asyncio.timeout(10):
                        async for event in events:
                            body = event.body
                            if body is not None and "power" in body.reported and body.reported["power"].value == 70:
                                break
                assert (await client.get("lamp")).delta == {}
            assert "did power 70" in lines()
            assert not [line for line in lines() if line.startswith("result") and not line.endswith(" 0")]
        finally:
            process.kill()
            process.wait()
