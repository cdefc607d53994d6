"""Whatever is written as a mapper's settings is taken, or refused in words; nothing else ever comes out."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import BaseModel, ValidationError

from mappers.sdk.registry import Registry
from twin.manifest.mistakes import Mistake, worded, written_keys
from twin.model import ValueType

pytestmark = pytest.mark.fast

REGISTRY = Registry.installed()
MODELS = [
    (name, part, getattr(REGISTRY.find(name), part))
    for name in REGISTRY.names()
    for part in ("connection", "device", "point", "scan")
]
KUBEEDGE = (
    "register",
    "offset",
    "limit",
    "isSwap",
    "isRegisterSwap",
    "dataType",
    "nodeID",
    "userName",
    "timeout",
    "ip",
)
PLAIN = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(2**70), 2**70),
    st.floats(),
    st.text(max_size=12),
    st.sampled_from(
        ["holding", "coil", "float32", "uint16", "ns=2;s=A", "opc.tcp://h", "HoldingRegister", "rtu", "3", ""]
    ),
)
VALUES = st.recursive(
    PLAIN,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=4,
)


@pytest.mark.parametrize(("name", "part", "model"), MODELS, ids=lambda one: one if isinstance(one, str) else "")
@settings(max_examples=150)
@given(drawn=st.data())
def test_settings_are_taken_or_refused_in_words(name, part, model, drawn):
    keys = st.sampled_from([*written_keys(model), *KUBEEDGE]) | st.text(max_size=8)
    given_ = drawn.draw(st.dictionaries(keys, VALUES, max_size=6))
    told = told_of(model, given_)
    assert all(one.text and one.remedy for one in told)
    if part == "point" and not told:
        made = model.model_validate(given_)
        assert all(isinstance(made.mismatch(type_), str) for type_ in ValueType)


@pytest.mark.parametrize("name", ["modbus", "opcua"])
@pytest.mark.parametrize("timeout", ["inf", "-inf", "nan", float("inf"), "soon", [], "9" * 400])
def test_a_timeout_of_kubeedge_that_is_no_time_is_refused_in_words(name, timeout):
    model = REGISTRY.find(name).connection
    written = {"url": "opc.tcp://h"} if name == "opcua" else {"host": "h"}
    (one,) = told_of(model, {**written, "timeout": timeout})
    assert one.path == ("timeoutMs",)


@pytest.mark.parametrize("name", REGISTRY.names())
@settings(max_examples=150)
@given(drawn=st.data())
def test_one_map_of_kubeedge_is_split_whatever_is_in_it(name, drawn):
    mapper = REGISTRY.find(name)
    keys = st.sampled_from([*written_keys(mapper.connection), *KUBEEDGE, "opcua", "com", "tcp", "modbus", "slaveID"])
    connection, device = mapper.split(drawn.draw(st.dictionaries(keys, VALUES, max_size=6)))
    for model, given_ in ((mapper.connection, connection), (mapper.device, device)):
        assert all(one.text and one.remedy for one in told_of(model, given_))


def told_of(model: type[BaseModel], written: dict[str, object]) -> list[Mistake]:
    """What is wrong with what was written; empty if it is taken."""
    try:
        model.model_validate(written)
    except ValidationError as error:
        told = list(worded(error, model))
        assert told, "refused without a word"  # what the refusal says is what is tried
        return told
    return []
