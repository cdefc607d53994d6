"""Whole documents: KubeEdge's own, and our samples."""

import re
from pathlib import Path

import pytest

from edgehub.checking import checked
from mappers.ble import MAPPER
from mappers.ble.config import BleConnection, BleDevice
from mappers.ble.point import BlePoint
from mappers.sdk.registry import Registry
from twin.manifest.yaml import Source

pytestmark = pytest.mark.fast

HERE = Path(__file__).parents[3] / "mappers" / "ble"
KUBEEDGE = """
apiVersion: devices.kubeedge.io/v1beta1
kind: DeviceModel
metadata: {name: cc2650-sensortag, namespace: default}
spec:
  protocol: bluetooth
  properties:
    - {name: temperature, description: temperature in degree celsius, type: DOUBLE, accessMode: ReadOnly, unit: Celsius}
    - {name: temperature-enable, type: STRING, accessMode: ReadWrite}
---
apiVersion: devices.kubeedge.io/v1beta1
kind: Device
metadata: {name: sensor-tag-1, namespace: default}
spec:
  deviceModelRef: {name: cc2650-sensortag}
  nodeName: edge-node
  protocol:
    protocolName: bluetooth
    configData:
      macAddress: BC:6A:29:AE:CC:96
  properties:
    - name: temperature
      collectCycle: 10000
      reportCycle: 10000
      visitors:
        protocolName: bluetooth
        configData:
          characteristicUUID: f000aa0104514000b000000000000000
          dataConverter:
            startIndex: 2
            endIndex: 1
            shiftRight: 2
            orderOfOperations:
              - operationType: Multiply
                operationValue: 0.03125
    - name: temperature-enable
      visitors:
        protocolName: bluetooth
        configData:
          characteristicUUID: f000aa0204514000b000000000000000
          dataWrite:
            "ON": [1]
            "OFF": [0]
"""


def entry(name: str):
    class Entry:
        value = "mappers.ble:MAPPER"
        dist = None

        def load(self):
            return MAPPER

    Entry.name = name
    return Entry()


def test_kubeedges_documents_are_taken_unchanged():
    checked([Source("kubeedge.yaml", KUBEEDGE.encode())], Registry([entry("ble")]))


def test_the_sample_fits():
    checked([Source("sample.yaml", (HERE / "sample.yaml").read_bytes())], Registry([entry("ble")]))


@pytest.mark.parametrize("name", ["ble", "Bluetooth", "bluetooth-le"])
def test_a_protocol_name_finds_the_mapper(name):
    found = Registry([entry("ble")]).by_protocol(name)
    assert found is not None
    assert found.mapper is MAPPER


@pytest.mark.parametrize("name", ["sample.yaml", "README.md"])
def test_the_sample_and_the_readme_show_every_key(name):
    text = (HERE / name).read_text(encoding="utf-8")
    for model in (BleConnection, BleDevice, BlePoint):
        for field, known in model.model_fields.items():
            assert re.search(rf"\b{known.alias or field}\b", text), f"{field} is not in {name}"
