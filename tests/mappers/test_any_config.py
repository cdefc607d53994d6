"""Whatever people write under known keys, a mapper's models take it or say what is wrong; nothing else is raised."""

import json
from contextlib import suppress

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from mappers.sdk import PointConfig
from mappers.sdk.registry import Registry
from tests.fuzz.targets import KUBEEDGE_KEYS, config, keys_of
from twin.model import ValueType

pytestmark = pytest.mark.fast

MAPPERS = [Registry.installed().find(name) for name in ("modbus", "opcua", "ble", "serialgpio")]
WORDS = [
    "",
    "hex:02",
    "hci0",
    "i=85",
    "ns=2;s=a",
    "2A6E",
    "0",
    "1.5",
    "A0",
    "{value}",
    "(",
    "([0-9]+)",
    "on",
    "/dev/x",
    "é",
]
PLAIN = (
    st.none()
    | st.booleans()
    | st.integers(-3, 70_000)
    | st.integers(-(2**70), 2**70)
    | st.floats()
    | st.sampled_from(WORDS)
    | st.text(max_size=6)
)
JSON = st.recursive(PLAIN, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner))


def written(model):
    """Some keys of a model, KubeEdge's or others, with the model's own words or any JSON."""
    keys = [*keys_of(model), *KUBEEDGE_KEYS, "x"]
    words = sorted({word for word in json.dumps(model.model_json_schema()).split('"')[1::2] if len(word) < 20})
    value = JSON | st.sampled_from(words)
    nested = st.dictionaries(st.sampled_from([*keys, *words]), value, max_size=4)
    return st.dictionaries(st.sampled_from(keys), value | nested, max_size=6)


MODELS = [
    pytest.param(model, written(model), id=f"{mapper.name}-{part}")
    for mapper in MAPPERS
    for part in ("connection", "device", "point", "scan")
    if (model := getattr(mapper, part)) is not None
]


@pytest.mark.parametrize(("model", "trees"), MODELS)
@settings(max_examples=30)
@given(st.data())
def test_any_settings_are_taken_or_refused_in_words(model, trees, data):
    tree = data.draw(trees)
    config(json.dumps(tree).encode())
    with suppress(ValidationError):
        made = model.model_validate(tree)
        if isinstance(made, PointConfig):
            for kind in ValueType:
                assert isinstance(made.mismatch(kind), str)
