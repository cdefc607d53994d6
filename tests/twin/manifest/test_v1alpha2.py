"""KubeEdge's older layout: read as the newer one would be, and told of where it was written."""

from pathlib import Path

import pytest

from edgehub.checking import checked
from mappers.sdk.registry import Registry
from twin.manifest.kinds import DeviceSpec
from twin.manifest.problems import InvalidManifest
from twin.manifest.read import read_documents, read_parsed
from twin.manifest.specs import device_twin
from twin.manifest.yaml import Parsed, Source
from twin.model import Access, ValueType

pytestmark = pytest.mark.fast

EXAMPLE = (Path(__file__).parents[3] / "docs" / "examples" / "kubeedge-v1alpha2.yaml").read_text()
OPCUA = """
apiVersion: devices.kubeedge.io/v1alpha2
kind: DeviceModel
metadata: {name: valve-model}
spec:
  properties:
    - name: flow
      type: {int: {accessMode: ReadOnly, defaultValue: 1}}
    - name: open
      type: {boolean: {accessMode: ReadWrite}}
---
apiVersion: devices.kubeedge.io/v1alpha2
kind: Device
metadata: {name: valve, labels: {model: sample}}
spec:
  deviceModelRef: {name: valve-model}
  protocol:
    opcua:
      url: opc.tcp://192.0.2.9:4840
      userName: tester
      password: /ca/pass
      certificate: /ca/clientcert.pem
      privateKey: /ca/clientkey.pem
      securityMode: Sign
      securityPolicy: Basic256Sha256
    common:
      customizedValues:
        remoteCertificate: /ca/servercert.pem
  propertyVisitors:
    - {propertyName: flow, opcua: {nodeID: ns=2;i=2}}
    - {propertyName: open, opcua: {nodeID: ns=2;i=3, browseName: Open}}
status:
  twins:
    - propertyName: open
      reported: {value: "false", metadata: {type: boolean}}
      desired: {value: "true", metadata: {type: boolean}}
"""
BLUETOOTH = """
apiVersion: devices.kubeedge.io/v1alpha2
kind: DeviceModel
metadata: {name: tag-model}
spec:
  properties:
    - name: warmth
      type: {double: {accessMode: ReadOnly, unit: Celsius}}
    - name: enable
      type: {string: {accessMode: ReadWrite, defaultValue: 'ON'}}
---
apiVersion: devices.kubeedge.io/v1alpha2
kind: Device
metadata: {name: tag}
spec:
  deviceModelRef: {name: tag-model}
  protocol:
    bluetooth: {macAddress: "00:00:5E:00:53:01"}
  propertyVisitors:
    - propertyName: warmth
      bluetooth:
        characteristicUUID: f000aa0104514000b000000000000000
        dataConverter:
          startIndex: 1
          endIndex: 0
          shiftRight: 2
          orderOfOperations: [{operationType: Multiply, operationValue: 0.03125}]
    - propertyName: enable
      bluetooth:
        characteristicUUID: f000aa0204514000b000000000000000
        dataWrite: {"ON": [1], "OFF": [0]}
"""
RTU = EXAMPLE.replace(
    "      tcp:\n        ip: 192.0.2.10\n        port: 502\n",
    "      com: {serialPort: /dev/ttyS0, baudRate: 9600, dataBits: 8, parity: even, stopBits: 1}\n"
    "      customizedValues: {serialType: RS232}\n",
)


def read(text):
    return read_documents([Source("old.yaml", text.encode())])


def problems(text):
    with pytest.raises(InvalidManifest) as caught:
        checked([Source("old.yaml", text.encode())], Registry.installed())
    return [(one.path, one.text, one.remedy) for one in caught.value.problems]


@pytest.mark.parametrize("text", [EXAMPLE, RTU, OPCUA, BLUETOOTH], ids=["tcp", "rtu", "opcua", "bluetooth"])
def test_documents_of_all_protocols_are_accepted_unchanged(text):
    manifest = checked([Source("old.yaml", text.encode())], Registry.installed()).manifest
    assert [one.api_version for one in manifest.documents] == ["devices.kubeedge.io/v1alpha2"] * 2
    for one in manifest.documents:
        assert one.raw["spec"] == one.origin.value["spec"]


def test_a_device_reads_as_one_of_the_newer_layout():
    model, device = read(EXAMPLE).documents
    assert device.spec.gateway_name == "gw-1"
    assert device.spec.protocol.protocol_name == "modbus"
    assert device.spec.protocol.config_data == {"ip": "192.0.2.10", "port": 502, "slaveID": 3}
    pressure, _ = device.spec.properties
    assert (pressure.collect_cycle_ms, pressure.visitors.config_data["offset"]) == (5000, 2)
    twin = device_twin(model, device, "u")
    assert twin.desired == {"enable": 1}
    said = twin.spec.properties["pressure"]
    assert (said.type, said.access, said.minimum, said.maximum, said.unit) == (
        ValueType.DOUBLE, Access.READ_ONLY, 0.0, 16.0, "bar",
    )  # fmt: skip


def test_a_protocol_of_ones_own_is_read_in_device_and_visitor():
    text = EXAMPLE.replace(
        "    modbus:\n      slaveID: 3", "    customizedProtocol: {protocolName: own, configData: {a: 1}}"
    )
    text = text.replace(
        "      modbus:\n        register: CoilRegister",
        "      customizedValues: {b: 2}\n      customizedProtocol: {protocolName: own, configData: {c: 3}}\n"
        "      modbus:\n        register: CoilRegister",
    )
    spec = read(text).documents[1].spec
    assert isinstance(spec, DeviceSpec)
    assert (spec.protocol.protocol_name, spec.protocol.config_data["a"]) == ("own", 1)
    assert spec.properties[1].visitors.config_data == {"b": 2, "c": 3}


def test_a_desired_value_without_a_visitor_is_one_too():
    text = EXAMPLE.replace("- propertyName: enable\n      modbus", "- propertyName: pressure2\n      modbus")
    spec = read(text).documents[1].spec
    assert [(one.name, one.desired.value if one.desired else None) for one in spec.properties] == [
        ("pressure", None), ("pressure2", None), ("enable", "1"),
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("selector", "node"),
    [
        ("{key: '', operator: In, values: [a]}", "a"),
        ("{key: kubernetes.io/hostname, operator: In, values: [a]}", "a"),
        ("{key: zone, operator: In, values: [a]}", ""),
        ("{key: '', operator: NotIn, values: [a]}", ""),
        ("{key: '', operator: In, values: [a, b]}", ""),
    ],
)
def test_a_selector_that_names_one_node_is_the_gateway(selector, node):
    start, end = EXAMPLE.index("          - key: ''"), EXAMPLE.index("  propertyVisitors")
    assert read(f"{EXAMPLE[:start]}          - {selector}\n{EXAMPLE[end:]}").documents[1].spec.gateway_name == node


def test_what_is_stored_is_read_back_equal():
    documents = read(EXAMPLE).documents
    assert read_parsed([Parsed("store", one.raw) for one in documents]).documents == documents


@pytest.mark.parametrize(
    ("was", "becomes", "path", "text"),
    [
        ("maximum: 16", "maximum: lots", "spec.properties[0].type.double.maximum", "'lots' is not a number"),
        ("double:", "decimal:", "spec.properties[0].type.decimal", "the key decimal is not known here"),
        ("        double:\n", "        int: {}\n        double:\n", "spec.properties[0].type", "exactly one type"),
        ("slaveID: 3", "slaveID: 900", "spec.protocol.slaveID", "unit 900"),
        ("offset: 2", "offset: 70000", "spec.propertyVisitors[0].modbus.address", "address 70000"),
        ("propertyName: pressure", "propertyName: presure", "spec.propertyVisitors[0].propertyName", "no property"),
        ('value: "1"', 'value: "on"', "status.twins[0].desired.value", "is not"),
        ("collectCycle: 5000", "collectCycle: soon", "spec.propertyVisitors[0].collectCycle", "'soon'"),
        ("- gw-1", "- gw#1", "spec.nodeSelector", "gw#1"),
        ("  nodeSelector:", "  nodeName: a\n  nodeSelector:", "spec.nodeName", "not known here"),
    ],
)
def test_a_problem_names_the_key_as_it_was_written(was, becomes, path, text):
    assert EXAMPLE.count(was)
    found = problems(EXAMPLE.replace(was, becomes, 1))
    assert any(one == path and text in said for one, said, _ in found), found
    assert all(remedy for _, _, remedy in found)
