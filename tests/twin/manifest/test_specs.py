"""A device and its model put together."""

from __future__ import annotations

import pytest

from twin.manifest.kinds import Visitor
from twin.manifest.specs import converted, device_twin, visitor_of
from twin.model import Access, ConflictPolicy, Drop, HistoryPolicy, Keep, ReportPolicy, ValueType

pytestmark = pytest.mark.fast

_MODEL = """
apiVersion: edgetwin.dev/v1
kind: DeviceModel
metadata: {name: m}
spec:
  properties:
    - {name: level, type: INT, accessMode: ReadWrite, minimum: 0, maximum: 10}
    - {name: flow, type: FLOAT}
    - {name: pump, type: BOOLEAN, accessMode: ReadWrite}
"""


def _twin(read, properties: str):
    model, device = read(
        f"{_MODEL}---\napiVersion: edgetwin.dev/v1\nkind: Device\nmetadata: {{name: d}}\n"
        f"spec: {{deviceModelRef: {{name: m}}, gateway: gw-1, properties: {properties}}}"
    ).documents
    return device_twin(model, device, "uid-1")


def test_the_spec_of_a_twin(good) -> None:
    model, _, device = good("edgetwin.yaml").documents
    twin = device_twin(model, device, "uid-1")
    assert twin.problems == ()
    assert (twin.spec.uid, twin.spec.model, twin.spec.gateway) == ("uid-1", "boiler", "gw-1")
    assert twin.spec.labels == (("hall", "north"),)
    temperature, setpoint = twin.spec.properties["temperature"], twin.spec.properties["setpoint"]
    assert temperature.report == ReportPolicy(deadband=0.5, max_interval_ms=60_000)
    assert (setpoint.access, setpoint.tolerance, setpoint.conflict) == (Access.READ_WRITE, 0.2, ConflictPolicy.EDGE)
    assert twin.desired == {"setpoint": 41.5, "mode": "off"}


def test_history_is_off_until_the_model_or_the_device_asks_for_it_and_the_device_goes_over_the_model(read) -> None:
    model, device = read(
        "apiVersion: edgetwin.dev/v1\nkind: DeviceModel\nmetadata: {name: m}\nspec:\n  properties:\n"
        "    - {name: none, type: INT}\n"
        "    - {name: said, type: INT, history: {keep: ALL, drop: thin, maxAge: 2d}}\n"
        "    - {name: over, type: INT, history: {keep: all, drop: thin, maxAge: 2d}}\n"
        "---\napiVersion: edgetwin.dev/v1\nkind: Device\nmetadata: {name: d}\n"
        "spec: {deviceModelRef: {name: m}, properties: [{name: over, history: {keep: off}}]}"
    ).documents
    properties = device_twin(model, device, "u").spec.properties
    assert {name: one.history for name, one in properties.items()} == {
        "none": HistoryPolicy(Keep.OFF),
        "said": HistoryPolicy(Keep.ALL, Drop.THIN, 172_800_000),
        "over": HistoryPolicy(Keep.OFF),
    }


def test_a_kubeedge_string_becomes_a_value_of_the_type(good) -> None:
    model, device = good("kubeedge-modbus.yaml").documents
    assert device_twin(model, device, "u").desired == {"temperature": 30}


def test_a_visitor_of_the_device_goes_over_the_default_key_by_key(good) -> None:
    model, _, device = good("edgetwin.yaml").documents
    assert visitor_of(model, device, "mode") == Visitor(
        protocolName="", configData={"register": "holding", "address": 9, "scale": 1}
    )


@pytest.mark.parametrize(
    ("properties", "text"),
    [
        ("[{name: levle}]", "spec.properties[0].name: the device model m has no property levle\n  Did you mean level?"),
        ("[{name: flow, desired: {value: 1}}]", "properties[0].desired.value: flow is ReadOnly"),
        ('[{name: level, desired: {value: "11"}}]', "11 is outside the limits 0 to 10"),
        ("[{name: level, desired: {value: high}}]", '"high" is not a whole number'),
        ("[{name: pump, desired: {value: 1}}]", "1 is not true or false"),
        ("[{name: flow, report: {deadband: 2%}}]", "report.deadband: the deadband of flow is in percent"),
    ],
)
def test_what_does_not_fit_the_model_is_a_problem(read, properties: str, text: str) -> None:
    (problem,) = _twin(read, properties).problems
    assert text in str(problem)
    assert problem.line


@pytest.mark.parametrize(
    ("type_", "text", "value"),
    [
        (ValueType.FLOAT, "41.5", 41.5),
        (ValueType.FLOAT, "nan", "nan"),
        (ValueType.INT, "-3", -3),
        (ValueType.INT, "3.0", "3.0"),
        (ValueType.INT, "1_0", "1_0"),
        (ValueType.BOOLEAN, "True", True),
        (ValueType.BOOLEAN, "1", "1"),
        (ValueType.STRING, "1", "1"),
        (ValueType.JSON, "1", "1"),
        (ValueType.INT, 7, 7),
    ],
)
def test_conversion_of_strings(type_: ValueType, text: object, value: object) -> None:
    assert converted(type_, text) == value
    assert type(converted(type_, text)) is type(value)
