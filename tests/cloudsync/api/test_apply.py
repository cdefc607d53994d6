"""apply, delete and diff in the cloud, by the client; the rules themselves are tried where they are."""

import pytest

from twin.errors import InvalidDocuments, NotAllowed
from twin.wire.api import ApplyMode, DocumentSource
from twin.wire.cloud_api import AuditRequest

PLANT = """
apiVersion: edgetwin.dev/v1
kind: DeviceModel
metadata: {namespace: plant, name: tank}
spec:
  properties:
  - {name: valve, type: INT, accessMode: ReadWrite, minimum: 0, maximum: 100}
---
apiVersion: edgetwin.dev/v1
kind: Device
metadata: {namespace: plant, name: tank, labels: {area: hall}}
spec: {deviceModelRef: {name: tank}, gateway: gw-1, properties: [{name: valve, desired: {value: 7}}]}
"""
SOURCES = [DocumentSource(name="plant.yaml", text=PLANT)]


async def test_a_device_that_is_applied_has_a_twin_and_its_desired_value(client_of):
    root = await client_of("root")
    dry = await root.apply(SOURCES, dry_run=True)
    assert {one.action for one in dry.changes} == {"created"}
    assert (await root.query("SELECT name FROM twins")).rows == []
    done = await root.apply(SOURCES)
    assert done.changes == dry.changes
    found = await root.get("plant/tank")
    assert (found.gateway, found.labels, found.desired["valve"].value) == ("gw-1", {"area": "hall"}, 7)
    assert {one.action for one in (await root.apply(SOURCES)).changes} == {"unchanged"}
    assert [one.account for one in (await root.audit(AuditRequest())).entries][-1] == "root"
    await root.apply(SOURCES, mode=ApplyMode.DELETE)
    assert (await root.query("SELECT name FROM twins")).rows == []


async def test_a_mistake_names_file_line_and_key_and_changes_nothing(client_of):
    root = await client_of("root")
    wrong = PLANT.replace("type: INT", "type: INTEGER")
    with pytest.raises(InvalidDocuments, match=r"plant\.yaml:7"):
        await root.apply([DocumentSource(name="plant.yaml", text=wrong)])
    assert (await root.query("SELECT name FROM twins")).rows == []


async def test_only_admins_apply(client_of):
    with pytest.raises(NotAllowed):
        await (await client_of("ann")).apply(SOURCES)
