"""What pydantic finds wrong with a mapper's settings, in words."""

from enum import StrEnum
from typing import Annotated, Literal

import pytest
from pydantic import BaseModel, ConfigDict, Field, SecretStr, ValidationError, field_validator

from twin.manifest.mistakes import Mistake, worded

pytestmark = pytest.mark.fast


class Colour(StrEnum):
    RED = "red"
    GREEN = "green"


class Inner(BaseModel):
    model_config = ConfigDict(extra="forbid")

    depth: Annotated[float, Field(gt=0, lt=5)] = 1.0


class Settings(BaseModel):
    model_config = ConfigDict(extra="forbid")

    count: Annotated[int, Field(ge=1, le=9)] | None = None
    low: Annotated[int, Field(ge=3)] = 3
    high: Annotated[int, Field(le=3, examples=["2"])] = 3
    colour: Colour = Colour.RED
    way: Literal["in", "out"] | None = None
    on: bool = False
    name: Annotated[str, Field(max_length=4)] = ""
    tags: tuple[str, ...] = ()
    inner: Inner = Inner()
    extra: dict[str, int] = Field({})
    secret: SecretStr = SecretStr("")
    checked: str = ""
    plain: str = ""
    host: Annotated[str, Field(alias="hostName")] = ""

    @field_validator("checked")
    @classmethod
    def _checked(cls, text: str) -> str:
        raise ValueError("never right; leave it out" if text == "a" else "never right")


@pytest.mark.parametrize(
    ("key", "value", "text", "remedy"),
    [
        ("count", 0, "count 0 is below 1", "Write a whole number from 1 to 9."),
        ("count", 10, "count 10 is over 9", "Write a whole number from 1 to 9."),
        ("count", "x" * 99, f"count {'x' * 60!r}... (99 characters) is not a whole number", None),
        ("count", 1.5, "count 1.5 is not a whole number", None),
        ("low", 2, "low 2 is below 3", "Write a whole number of at least 3."),
        ("high", 4, "high 4 is over 3", "Write a whole number of at most 3, for example high: 2."),
        ("colour", "gren", "colour 'gren' is not known", "Did you mean green?"),
        ("colour", 7, "colour 7 is not known", "It is one of: red, green."),
        ("way", "up", "way 'up' is not known", "It is one of: in, out."),
        ("on", "perhaps", "on 'perhaps' is not true or false", "Write true or false."),
        ("name", 5, "name 5 is not a text", 'Quote it: "5".'),
        ("name", [], "name a list is not a text", "Write a text."),
        ("name", "longer", "name 'longer': String should have at most 4 characters", "Write a text."),
        ("tags", 3, "tags 3 is not a list", "Write a list."),
        ("inner", 3, "inner 3 is not a map", "Write a map."),
        ("extra", "x", "extra 'x' is not a map", "Write a map."),
        ("secret", 4711, "secret is not a text (it is a secret and not shown)", "Put it in quotes."),
        ("checked", "a", "never right", "Leave it out."),
        ("checked", "b", "never right", "Write a text."),
        ("colours", 1, "the key colours is not known here", "Did you mean colour?"),
        ("hostName", 1, "hostName 1 is not a text", 'Quote it: "1".'),
    ],
)
def test_a_mistake_has_its_value_and_what_fits(key, value, text, remedy):
    with pytest.raises(ValidationError) as caught:
        Settings.model_validate({key: value})
    (one,) = worded(caught.value, Settings)
    assert (one.path, one.text) == ((key,), text)
    assert remedy is None or one.remedy == remedy


def test_a_mistake_inside_a_part_has_the_whole_path():
    with pytest.raises(ValidationError) as caught:
        Settings.model_validate({"inner": {"depth": 0, "colour": 3}})
    assert list(worded(caught.value, Settings)) == [
        Mistake(("inner", "depth"), "depth 0 is not above 0", "Write a number."),
        Mistake(("inner", "colour"), "the key colour is not known here", "Keys are: depth."),
    ]


def test_a_mistake_in_a_list_names_its_place():
    with pytest.raises(ValidationError) as caught:
        Settings.model_validate({"tags": ["a", 3], "extra": {"b": "x"}})
    assert [one.path for one in worded(caught.value, Settings)] == [("tags", 1), ("extra", "b")]
