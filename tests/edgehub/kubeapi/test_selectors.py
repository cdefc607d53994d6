"""Label and field selectors: what is written is what is asked, and nonsense is told."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgehub.kubeapi.selectors import Op, Requirement, Selector, parse_fields, parse_labels
from edgehub.kubeapi.status import ApiError

pytestmark = pytest.mark.fast

WORD = st.from_regex(r"[A-Za-z0-9]([A-Za-z0-9._-]{0,5}[A-Za-z0-9])?", fullmatch=True)
KEY = st.one_of(WORD, st.builds("{}/{}".format, WORD, WORD))
SPACE = st.sampled_from(["", " ", "  "])
REQUIREMENT = st.one_of(
    st.builds(Requirement, KEY, st.sampled_from([Op.THERE, Op.NOT_THERE])),
    st.builds(Requirement, KEY, st.sampled_from([Op.IN, Op.NOT_IN]), st.lists(WORD, min_size=1, max_size=3).map(tuple)),
    st.builds(Requirement, KEY, st.sampled_from([Op.ABOVE, Op.BELOW]), st.integers(-9, 9).map(lambda one: (str(one),))),
)


def written(one: Requirement, space: str) -> str:
    if one.op is Op.THERE:
        return f"{space}{one.key}{space}"
    if one.op is Op.NOT_THERE:
        return f"{space}!{space}{one.key}"
    if one.op in (Op.ABOVE, Op.BELOW):
        return f"{one.key}{space}{'>' if one.op is Op.ABOVE else '<'}{space}{one.values[0]}{space}"
    if len(one.values) == 1 and space:
        return f"{one.key}{'==' if one.op is Op.IN else '!='}{one.values[0]}{space}"
    return f"{one.key} {one.op}{space}({f'{space},{space}'.join(one.values)}){space}"


@given(st.lists(REQUIREMENT, max_size=4), SPACE)
def test_what_is_written_is_read_back(requirements, space):
    assert parse_labels(",".join(written(one, space) for one in requirements)) == tuple(requirements)


@given(st.text(max_size=30) | st.text("ab=!(),<> in", max_size=20))
def test_any_text_is_read_or_told(text):
    told = set()
    for parse in (parse_labels, lambda text: parse_fields(text, frozenset({"metadata.name"}))):
        try:
            parse(text)
        except ApiError as error:
            told.add(error.status)
    assert told <= {400}


@pytest.mark.parametrize(
    ("text", "labels", "holds"),
    [
        ("app=web", {"app": "web"}, True),
        ("app=web", {}, False),
        ("app!=web", {}, True),
        ("app!=web", {"app": "web"}, False),
        ("app in (web, db)", {"app": "db"}, True),
        ("app notin (web)", {"app": "db"}, True),
        ("app notin (web)", {}, True),
        ("app=", {"app": ""}, True),
        ("app=", {}, False),
        ("app in ()", {"app": ""}, True),
        ("kubernetes.io/name", {"kubernetes.io/name": ""}, True),
        ("!old", {"old": "x"}, False),
        ("weight>5", {"weight": "6"}, True),
        ("weight>5", {"weight": "heavy"}, False),
        ("weight<5", {}, False),
        ("a=b,c", {"a": "b"}, False),
        ("", {"a": "b"}, True),
    ],
)
def test_what_a_selector_wants(text, labels, holds):
    assert Selector(parse_labels(text)).wants(labels, {}) is holds


@pytest.mark.parametrize(
    "text", ["a=b,", ",a=b", "a in (b", "a in b", "a = = b", "(a)", "a>x", "a b", "-a=b", "a=b c", "a=" + "x" * 5000]
)
def test_what_cannot_be_read_is_told(text):
    with pytest.raises(ApiError) as caught:
        parse_labels(text)
    assert (caught.value.status, caught.value.reason) == (400, "BadRequest")


def test_fields_are_those_of_the_resource():
    known = frozenset({"metadata.name", "status.phase"})
    found = Selector((), parse_fields("metadata.name=web,status.phase!=Failed,", known))
    assert found.wants({}, {"metadata.name": "web", "status.phase": "Running"})
    assert not found.wants({}, {"metadata.name": "web", "status.phase": "Failed"})
    with pytest.raises(ApiError, match=r"not supported: spec\.foo; known here: metadata\.name, status\.phase"):
        parse_fields("spec.foo=1", known)
