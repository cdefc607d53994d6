"""Raw to reported and back."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mappers.sdk import Fault, Readings
from mappers.sdk.convert import Converter, Scaling, bad
from twin.model import PropertySpec, Reason, ValueType
from twin.validate import Rule

pytestmark = pytest.mark.fast


def converter(value_type: ValueType, scale: float = 1.0, offset: float = 0.0, **limits: float) -> Converter:
    spec = PropertySpec("p", value_type, **limits)
    return Converter({"p": (Scaling(value_type, scale, offset), Rule(spec))})


@pytest.mark.parametrize(
    ("value_type", "scale", "offset", "raw", "reported"),
    [
        (ValueType.FLOAT, 0.1, 0.0, 3, 0.3),
        (ValueType.FLOAT, 0.25, -40.0, 100, -15.0),
        (ValueType.FLOAT, 2.0, 1.0, 4, 9.0),
        (ValueType.INT, 10.0, 0.0, 7, 70),
        (ValueType.INT, 0.1, 0.0, 26, 3),
        (ValueType.INT, 0.5, 0.0, 5, 2),
        (ValueType.INT, 1.0, 0.0, 5.0, 5),
        (ValueType.BOOLEAN, 1.0, 0.0, 1, True),
        (ValueType.STRING, 2.0, 0.0, "on", "on"),
        (ValueType.JSON, 1.0, 0.0, {"a": [1]}, {"a": [1]}),
    ],
)
def test_raw_becomes_a_value_of_the_type(value_type, scale, offset, raw, reported) -> None:
    sample = converter(value_type, scale, offset).sample(Readings({"p": raw}))
    assert sample.values == {"p": reported}
    assert type(sample.values["p"]) is type(reported)
    assert sample.marks == {}


@pytest.mark.parametrize(
    ("value_type", "raw", "reason"),
    [
        (ValueType.INT, 11, Reason.OUT_OF_RANGE),
        (ValueType.INT, "x", Reason.DECODE_ERROR),
        (ValueType.FLOAT, math.nan, Reason.DECODE_ERROR),
        (ValueType.FLOAT, math.inf, Reason.DECODE_ERROR),
        (ValueType.FLOAT, True, Reason.DECODE_ERROR),
        (ValueType.BOOLEAN, 2, Reason.DECODE_ERROR),
        (ValueType.STRING, "\ud800", Reason.DECODE_ERROR),
        (ValueType.JSON, [math.nan], Reason.DECODE_ERROR),
    ],
)
def test_what_does_not_fit_becomes_a_mark_without_value(value_type, raw, reason) -> None:
    sample = converter(value_type, maximum=10).sample(Readings({"p": raw}))
    assert sample.values == {}
    assert sample.marks == {"p": bad(reason)}


def test_faults_silence_and_unasked_answers() -> None:
    both = Converter({name: (Scaling(ValueType.INT), Rule(PropertySpec(name, ValueType.INT))) for name in "ab"})
    sample = both.sample(Readings({"z": 1}, {"a": Fault(Reason.ILLEGAL_ADDRESS)}))
    assert sample.values == {}
    assert sample.marks == {"a": bad(Reason.ILLEGAL_ADDRESS), "b": bad(Reason.DEVICE_FAILURE)}


def test_the_drivers_readings_stay_as_they_are() -> None:
    readings = Readings({"p": 3})
    converter(ValueType.FLOAT, 0.1).sample(readings)
    converter(ValueType.INT, maximum=1).sample(readings)
    assert readings.values == {"p": 3}


@given(
    raw=st.integers(-(2**31), 2**31),
    scale=st.sampled_from([0.001, 0.01, 0.1, 0.125, 0.3, 1.0, 2.0, 10.0, -0.1]),
    offset=st.sampled_from([0.0, -40.0, 273.15, 1e6]),
)
def test_what_is_read_can_be_written_back_as_it_was(raw, scale, offset) -> None:
    scaling = Scaling(ValueType.DOUBLE, scale, offset)
    back = scaling.raw(scaling.reported(raw))
    assert back == pytest.approx(raw, rel=1e-9, abs=1e-4)
