"""Names of things and shadows, there and back."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from twin.dialects.aws_names import Things, device_of, shadow_key, shadow_of
from twin.errors import InvalidName
from twin.model import NAME, TwinKey

pytestmark = pytest.mark.fast

TANK = TwinKey.parse("plant/tank")
THINGS = Things({"Press_4": TwinKey.parse("plant/press-4")})


@pytest.mark.parametrize(
    ("thing", "device"),
    [
        ("lamp-7", "default/lamp-7"),
        ("plant:tank", "plant/tank"),
        ("Press_4", "plant/press-4"),
        ("plant:press-4", None),
        ("Lamp", None),
        ("default:lamp-7", None),
        ("a:b:c", None),
        (":tank", None),
        ("", None),
    ],
)
def test_a_thing_is_one_device_and_a_device_one_thing(thing, device):
    found = THINGS.device(thing)
    assert found == (TwinKey.parse(device) if device else None)
    assert found is None or THINGS.thing(found) == thing


@pytest.mark.parametrize(
    ("shadow", "name"),
    [
        ("config", "tank.config"),
        ("WifiConfig", "tank.-wifi-config"),
        ("a-b_c:d$", "tank.a--b-1c-2d-3"),
        ("end-", "tank.end-4"),
        ("7", "tank.7"),
    ],
)
def test_a_shadow_has_a_name_that_people_can_read(shadow, name):
    key = shadow_key(TANK, shadow)
    assert str(key) == f"shadow/plant/{name}"
    assert (device_of(key), shadow_of(key)) == (TANK, shadow)


@given(st.text("$AZaz09:_-", min_size=1, max_size=20), st.sampled_from(["tank", "a.b", "a.-b"]))
def test_no_two_shadows_share_a_name(shadow, device):
    device = TwinKey.parse(device)
    key = shadow_key(device, shadow)
    assert NAME.fullmatch(key.name)
    assert (device_of(key), shadow_of(key)) == (device, shadow)


@pytest.mark.parametrize("shadow", ["", "a.b", "a/b", "ü", "x" * 59, "a b", "+"])
def test_a_name_that_does_not_fit_is_refused_with_the_rule(shadow):
    with pytest.raises(InvalidName) as refusal:
        shadow_key(TANK, shadow)
    assert "characters" in refusal.value.remedy


def test_a_device_is_its_own_classic_shadow():
    assert (device_of(TANK), shadow_of(TANK)) == (TANK, "")
