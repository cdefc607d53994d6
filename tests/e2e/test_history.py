"""History from the outside: a device changes, the gateway is killed, and the command shows every value that it had."""

import csv
import io
import json

from tests.e2e.rig import DOCUMENTS
from tests.e2e.test_gateway import twin_when, value_is
from twin.wire.api import DocumentSource

TURNS = 5


async def test_every_value_that_a_device_had_is_in_the_history_also_after_a_kill(hub, device):
    device.set_input(0, 17)
    flow = "{name: flow, type: INT, accessMode: ReadOnly"
    text = DOCUMENTS.replace("${PORT}", str(device.port)).replace(
        flow, f"{flow}, unit: l/h, history: {{keep: changes}}"
    )
    async with hub.client() as client:
        await client.apply([DocumentSource(name="bench.yaml", text=text)])
        for value in range(18, 18 + TURNS):
            await twin_when(client, "v1", value_is("flow", value - 1))
            device.set_input(0, value)
        await twin_when(client, "v1", value_is("flow", 17 + TURNS))
    hub.kill()
    hub.start()
    await hub.ready()
    wanted = list(range(17, 18 + TURNS))

    shown = hub.run("history", "v1", "flow", "--csv")
    rows = [row for row in csv.DictReader(io.StringIO(shown.stdout)) if row["quality"] == "good"]
    assert list(dict.fromkeys(int(row["value"]) for row in rows)) == wanted
    assert {row["unit"] for row in rows} == {"l/h"}
    assert [row["time"] for row in rows] == sorted(row["time"] for row in rows)

    reply = json.loads(hub.run("history", "v1", "flow", "--json", "--limit", "3").stdout)
    assert [one["value"] for one in reply["readings"]] == wanted[:3]
    assert reply["after"]
    assert "max 22 l/h" in hub.run("history", "v1", "flow").stdout

    asked = "SELECT name, reported.flow FROM twins WHERE name = 'v1'"
    assert "reported.flow (l/h)" in hub.run("query", asked).stdout
    assert json.loads(hub.run("query", asked, "--json").stdout)["units"] == ["", "l/h"]

    refused = hub.run("history", "v1", "position")
    assert refused.returncode == 4
    assert "keeps no history" in refused.stderr
    assert hub.run("history", "v1", "flow", "--since", "never").returncode == 4
