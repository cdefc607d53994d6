"""Good documents as objects."""

from __future__ import annotations

import json

import pytest

from twin.manifest import kube_network
from twin.manifest.document import DocumentKind, Ref
from twin.manifest.fields import Deadband
from twin.manifest.kinds import DeviceModelSpec, DeviceSpec
from twin.manifest.read import _NETWORK, read_documents, read_parsed
from twin.manifest.yaml import Parsed, Source
from twin.model import Access, ValueType

pytestmark = pytest.mark.fast


def test_kubeedge_documents_are_read_and_kept_unchanged(good) -> None:
    manifest = good("kubeedge-modbus.yaml")
    model, device = manifest.documents
    assert isinstance(model.spec, DeviceModelSpec)
    assert isinstance(device.spec, DeviceSpec)
    assert (model.spec.properties[0].minimum, model.spec.properties[0].maximum) == (1.0, 100.0)
    assert model.spec.properties[1].type is ValueType.BOOLEAN
    assert device.spec.gateway_name == "gw-1"
    assert device.spec.properties[0].collect_cycle_ms == 10_000
    assert device.spec.properties[0].report_cycle_ms == 2_000
    assert device.spec.properties[0].push_method["http"]["port"] == 7702
    assert device.raw["spec"] == device.origin.value["spec"]
    assert device.raw["status"] == {"reportToCloud": True}
    assert [(one.line, one.path) for one in manifest.warnings] == [(52, "spec.properties[0].collectCycle")]


def test_our_documents_are_read(good) -> None:
    model, connection, device = good("edgetwin.yaml").documents
    assert connection.ref == Ref(DocumentKind.CONNECTION, "default", "bus-1")
    temperature, setpoint, mode = model.spec.properties
    assert temperature.report.deadband == Deadband(percent=2.0)
    assert setpoint.access_mode is Access.READ_WRITE
    assert mode.enum == ("on", "off", "no")
    assert device.labels == {"hall": "north"}
    assert device.spec.properties[0].collect_cycle_ms == 500
    assert device.place == "edgetwin.yaml:19"


def test_what_is_stored_is_read_back_equal(good) -> None:
    for name in ("edgetwin.yaml", "kubeedge-modbus.yaml", "pod.yaml", "services.yaml"):
        documents = good(name).documents
        again = read_parsed([Parsed("store", json.loads(json.dumps(one.raw))) for one in documents]).documents
        assert again == documents


def test_server_set_metadata_is_left_aside(read) -> None:
    text = (
        "apiVersion: edgetwin.dev/v1\nkind: Connection\nmetadata: {name: a, uid: x, generation: 3}\nspec: {mapper: m}"
    )
    (document,) = read(text).documents
    assert document.raw["metadata"] == {"namespace": "default", "name": "a"}


def test_a_list_of_kubernetes_and_a_json_array_are_unfolded() -> None:
    one = {"apiVersion": "edgetwin.dev/v1", "kind": "Connection", "metadata": {"name": "a"}, "spec": {"mapper": "m"}}
    for value in ([one], {"apiVersion": "v1", "kind": "List", "items": [one]}):
        (document,) = read_documents([Source("f.json", json.dumps(value).encode())]).documents
        assert document.name == "a"


def test_a_key_without_a_value_counts_as_left_out(read) -> None:
    text = "apiVersion: edgetwin.dev/v1\nkind: Connection\nmetadata: {name: a, labels: }\nspec: {mapper: m, config: ~}"
    (document,) = read(text).documents
    assert document.spec.config == {}


@pytest.mark.parametrize(
    ("text", "cycle_ms"),
    [
        ("500ms", 500),
        ("10s", 10_000),
        ("1.5m", 90_000),
        ("1h", 3_600_000),
        ("7d", 604_800_000),
        ("999999", 999_999),
        ("1000000", 1),
    ],
)
def test_durations(read, text: str, cycle_ms: int) -> None:
    (document,) = read(
        "apiVersion: edgetwin.dev/v1\nkind: Device\nmetadata: {name: a}\n"
        f"spec: {{deviceModelRef: {{name: m}}, properties: [{{name: p, collectCycle: {text}}}]}}"
    ).documents
    assert document.spec.properties[0].collect_cycle_ms == cycle_ms


def test_the_kinds_that_are_loaded_late_are_those_of_their_module() -> None:
    assert set(_NETWORK) == set(kube_network.KINDS)
