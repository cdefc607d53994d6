"""``property=value`` as people type it."""

import pytest

from twin.errors import InvalidMessage
from twin.show.assignments import desired_values

pytestmark = pytest.mark.fast


def test_values_are_json_or_else_text():
    texts = ["valve=40", "pump=true", "mode=auto", 'serial="007"', "note=a=b", "empty="]
    wanted = {"valve": 40, "pump": True, "mode": "auto", "serial": "007", "note": "a=b", "empty": ""}
    assert desired_values(texts, ["level"]) == wanted


@pytest.mark.parametrize(
    ("texts", "unset", "said"),
    [
        (["valve"], [], "'valve' is not property=value"),
        (["=4"], [], "'=4' is not property=value"),
        (["valve=1", "pump=true", "valve=2"], [], "valve is named twice"),
        (["valve=1"], ["valve"], "valve is named twice"),
        ([], ["valve", "valve"], "valve is named twice"),
    ],
)
def test_what_cannot_be_meant_is_refused(texts, unset, said):
    with pytest.raises(InvalidMessage, match=said):
        desired_values(texts, unset)
