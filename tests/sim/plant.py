"""The documents of the simulated gateways: one device each, whose label says which revision it is."""

import json

from twin.wire.api import ApplyMode, ApplyRequest, DocumentSource

POLICIES = {"a": "latest", "b": "cloud", "c": "edge"}


def model(namespace):
    properties = [
        {"name": name, "type": "JSON", "accessMode": "ReadWrite", "conflict": policy}
        for name, policy in POLICIES.items()
    ]
    properties.append({"name": "r", "type": "JSON", "accessMode": "ReadOnly", "history": {"keep": "changes"}})
    about = {"namespace": namespace, "name": "tank"}
    return {
        "apiVersion": "edgetwin.dev/v1",
        "kind": "DeviceModel",
        "metadata": about,
        "spec": {"properties": properties},
    }


def device(gateway, revision):
    about = {"namespace": gateway, "name": "tank", "labels": {"revision": str(revision)}}
    spec = {"deviceModelRef": {"name": "tank"}, "gateway": gateway}
    return {"apiVersion": "edgetwin.dev/v1", "kind": "Device", "metadata": about, "spec": spec}


def request(*documents, mode=ApplyMode.APPLY):
    text = "\n---\n".join(json.dumps(one) for one in documents)
    return ApplyRequest(sources=[DocumentSource(name="plant.yaml", text=text)], mode=mode)
