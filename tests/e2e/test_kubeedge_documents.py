"""KubeEdge's documents of both API versions, unchanged, on a running gateway with a device behind each protocol."""

import asyncio
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e.rig import Device, Hub
from tests.peers.ble_peripheral import LAMP
from tests.peers.opcua import OpcuaServer, need_node_opcua
from twin.wire.api import DocumentSource

ROOT = Path(__file__).parents[2]
WANTED = {"modbus": {"level": 4.2, "pump": True}, "opcua": {"flow": 2.5, "open": False}, "bluetooth": {
    "temperature": 21.5, "lamp": "ON"}}  # fmt: skip
V1BETA1 = """
apiVersion: devices.kubeedge.io/v1beta1
kind: DeviceModel
metadata: {name: new, namespace: default}
spec:
  protocol: modbus
  properties:
    - {name: level, description: of the tank, type: DOUBLE, accessMode: ReadOnly, minimum: "0", maximum: "100"}
    - {name: pump, type: BOOLEAN, accessMode: ReadWrite}
    - {name: flow, type: DOUBLE, accessMode: ReadOnly}
    - {name: open, type: BOOLEAN, accessMode: ReadWrite}
    - {name: temperature, type: DOUBLE, accessMode: ReadOnly, unit: Celsius}
    - {name: lamp, type: STRING, accessMode: ReadWrite}
---
apiVersion: devices.kubeedge.io/v1beta1
kind: Device
metadata: {name: new-modbus, namespace: default}
spec:
  deviceModelRef: {name: new}
  nodeName: gw-test
  protocol:
    protocolName: modbus
    configData: {ip: 127.0.0.1, port: MODBUS, slaveID: 1}
  properties:
    - name: level
      collectCycle: 100
      reportCycle: 100
      reportToCloud: true
      visitors:
        protocolName: modbus
        configData: {register: HoldingRegister, offset: 0, limit: 1, scale: 0.1, isSwap: false, isRegisterSwap: false}
    - name: pump
      desired: {value: "true", metadata: {type: boolean}}
      collectCycle: 100
      visitors:
        protocolName: modbus
        configData: {register: CoilRegister, offset: 3, limit: 1}
---
apiVersion: devices.kubeedge.io/v1beta1
kind: Device
metadata: {name: new-opcua, namespace: default}
spec:
  deviceModelRef: {name: new}
  nodeName: gw-test
  protocol:
    protocolName: opcua
    configData: {url: "opc.tcp://127.0.0.1:OPCUA", userName: ann, password: secret, securityMode: None, timeout: 5}
  properties:
    - name: flow
      visitors: {protocolName: opcua, configData: {nodeID: "ns=1;s=Tank.Double", browseName: Double}}
    - name: open
      desired: {value: "false"}
      visitors: {protocolName: opcua, configData: {nodeID: "ns=1;s=Tank.Boolean"}}
---
apiVersion: devices.kubeedge.io/v1beta1
kind: Device
metadata: {name: new-bluetooth, namespace: default}
spec:
  deviceModelRef: {name: new}
  nodeName: gw-test
  protocol:
    protocolName: bluetooth
    configData: {macAddress: "C4:7C:8D:00:00:00"}
  properties:
    - name: temperature
      visitors:
        protocolName: bluetooth
        configData:
          characteristicUUID: 00002a6e00001000800000805f9b34fb
          dataConverter:
            startIndex: 1
            endIndex: 0
            orderOfOperations: [{operationType: Multiply, operationValue: 0.01}]
    - name: lamp
      desired: {value: "ON"}
      visitors:
        protocolName: bluetooth
        configData: {characteristicUUID: LAMP, dataWrite: {"ON": [1], "OFF": [0]}}
"""
V1ALPHA2 = """
apiVersion: devices.kubeedge.io/v1alpha2
kind: DeviceModel
metadata: {name: old, namespace: default}
spec:
  properties:
    - {name: level, type: {double: {accessMode: ReadOnly, minimum: 0, maximum: 100}}}
    - {name: pump, type: {boolean: {accessMode: ReadWrite}}}
    - {name: flow, type: {double: {accessMode: ReadOnly}}}
    - {name: open, type: {boolean: {accessMode: ReadWrite}}}
    - {name: temperature, type: {double: {accessMode: ReadOnly, unit: Celsius}}}
    - {name: lamp, type: {string: {accessMode: ReadWrite}}}
---
apiVersion: devices.kubeedge.io/v1alpha2
kind: Device
metadata: {name: old-modbus, labels: {manufacturer: example}}
spec:
  deviceModelRef: {name: old}
  protocol:
    modbus: {slaveID: 1}
    common: {tcp: {ip: 127.0.0.1, port: MODBUS}}
  nodeSelector: {nodeSelectorTerms: [{matchExpressions: [{key: "", operator: In, values: [gw-test]}]}]}
  propertyVisitors:
    - propertyName: level
      modbus: {register: HoldingRegister, offset: 0, limit: 1, scale: 0.1, isSwap: false, isRegisterSwap: false}
      collectCycle: 100
      reportCycle: 100
    - {propertyName: pump, collectCycle: 100, modbus: {register: CoilRegister, offset: 3, limit: 1, scale: 1.0}}
status:
  twins:
    - propertyName: pump
      reported: {value: "false", metadata: {timestamp: "1550049403598", type: boolean}}
      desired: {value: "true", metadata: {timestamp: "1550049403598", type: boolean}}
---
apiVersion: devices.kubeedge.io/v1alpha2
kind: Device
metadata: {name: old-opcua}
spec:
  deviceModelRef: {name: old}
  protocol:
    opcua: {url: "opc.tcp://127.0.0.1:OPCUA", userName: ann, password: secret, securityMode: None}
  nodeSelector: {nodeSelectorTerms: [{matchExpressions: [{key: "", operator: In, values: [gw-test]}]}]}
  propertyVisitors:
    - {propertyName: flow, opcua: {nodeID: "ns=1;s=Tank.Double", browseName: Double}}
    - {propertyName: open, opcua: {nodeID: "ns=1;s=Tank.Boolean"}}
status:
  twins: [{propertyName: open, desired: {value: "false", metadata: {type: boolean}}}]
---
apiVersion: devices.kubeedge.io/v1alpha2
kind: Device
metadata: {name: old-bluetooth}
spec:
  deviceModelRef: {name: old}
  protocol:
    bluetooth: {macAddress: "C4:7C:8D:00:00:01"}
  nodeSelector: {nodeSelectorTerms: [{matchExpressions: [{key: "", operator: In, values: [gw-test]}]}]}
  propertyVisitors:
    - propertyName: temperature
      bluetooth:
        characteristicUUID: 00002a6e00001000800000805f9b34fb
        dataConverter:
          startIndex: 1
          endIndex: 0
          orderOfOperations: [{operationType: Multiply, operationValue: 0.01}]
    - propertyName: lamp
      bluetooth: {characteristicUUID: LAMP, dataWrite: {"ON": [1], "OFF": [0]}}
status:
  twins: [{propertyName: lamp, desired: {value: "ON", metadata: {type: string}}}]
"""


@pytest.fixture
def bus(tmp_path) -> Iterator[str]:
    """Address of a D-Bus with org.bluez and two sensors."""
    argv = [sys.executable, "-m", "tests.peers.bluez_facade", str(tmp_path), "2"]
    with subprocess.Popen(argv, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        yield process.stdout.readline().decode().strip()
        process.communicate(timeout=10)


async def test_documents_of_both_versions_are_served_unchanged_over_each_protocol(
    stopped_hub: Hub, device: Device, bus: str, tmp_path
):
    need_node_opcua()
    device.set_holding(0, 42)
    server = OpcuaServer(tmp_path)
    stopped_hub.environment["DBUS_SYSTEM_BUS_ADDRESS"] = bus
    stopped_hub.start()
    try:
        await asyncio.to_thread(server.start)
        await stopped_hub.ready()
        async with stopped_hub.client() as client:
            for name, text in (("new", V1BETA1), ("old", V1ALPHA2)):
                filled = text.replace("MODBUS", str(device.port)).replace("OPCUA", str(server.port))
                filled = filled.replace("LAMP", LAMP.replace("-", ""))
                await client.apply([DocumentSource(name=f"{name}.yaml", text=filled)])
            for name in ("new", "old"):
                for protocol, wanted in WANTED.items():
                    reported: dict = {}
                    try:
                        async with asyncio.timeout(40):
                            while reported != wanted:
                                body = await client.get(f"{name}-{protocol}")
                                reported = {key: leaf.value for key, leaf in body.reported.items()}
                                await asyncio.sleep(0.05)
                    except TimeoutError:
                        log = stopped_hub.log.read_text()[-3000:]
                        pytest.fail(f"{name}-{protocol} reports {reported}, not {wanted}\n{log}")
        assert device.bank.get_coils(3, 1) == [True]
    finally:
        server.stop()
