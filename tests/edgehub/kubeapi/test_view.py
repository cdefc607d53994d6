"""Versions, lists as they were, and the one rule of watching: a list and all that follows it is what is there now."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgehub.kubeapi.answers import Following, listed
from edgehub.kubeapi.asked import List, Watch, asked
from edgehub.kubeapi.objects import content
from edgehub.kubeapi.resources import CONFIG_MAPS, PODS
from edgehub.kubeapi.status import ApiError
from edgehub.kubeapi.view import Expired, ObjectKey, View

pytestmark = pytest.mark.fast

PATH = "/api/v1/configmaps"
KEYS = [ObjectKey(namespace, name) for namespace in ("a", "b") for name in ("x", "y", "z")]
CHANGE = st.tuples(st.sampled_from(KEYS), st.none() | st.tuples(st.sampled_from(["web", "db"]), st.integers(0, 2)))
QUERIES = st.sampled_from(
    ["", "labelSelector=app%3Dweb", "fieldSelector=metadata.namespace%3Da", "labelSelector=!gone"]
)


def config(key, said, resource=CONFIG_MAPS):
    app, number = said
    return content(resource, key, {"labels": {"app": app}}, {"data": {"n": str(number)}})


def put(view, key, said):
    view.put(CONFIG_MAPS, key, None if said is None else config(key, said))


def asked_list(query):
    wanted = asked(f"{PATH}?{query}", "")
    assert isinstance(wanted, List)
    return wanted


def asked_watch(version, query="", path=PATH):
    wanted = asked(f"{path}?watch=1&resourceVersion={version}&{query}", "")
    assert isinstance(wanted, Watch)
    return wanted


def objects(view, query=""):
    """What a list says: its version, and each object by name."""
    body = json.loads(listed(view, asked_list(query)))
    return int(body["metadata"]["resourceVersion"]), {name(one): one for one in body["items"]}


def name(one):
    return one["metadata"]["namespace"], one["metadata"]["name"]


def replay(known, lines):
    """What a client knows after the lines of a watch; each must fit what it knew."""
    for event in map(json.loads, lines):
        one = event["object"]
        if event["type"] == "ADDED":
            assert name(one) not in known
            known[name(one)] = one
        elif event["type"] == "MODIFIED":
            assert int(known[name(one)]["metadata"]["resourceVersion"]) < int(one["metadata"]["resourceVersion"])
            known[name(one)] = one
        else:
            assert event["type"] == "DELETED"
            del known[name(one)]


@given(st.lists(CHANGE, max_size=30), st.lists(CHANGE, max_size=30), QUERIES, st.integers(1, 60))
def test_a_list_and_the_watch_from_it_give_what_is_there_now(before, after, query, kept):
    view = View(100, kept=kept)
    for change in before:
        put(view, *change)
    version, known = objects(view, query)
    following = Following(view, asked_watch(version, query))
    following.start()
    expired = 0
    try:
        for number, change in enumerate(after):
            put(view, *change)
            if number % 3 == 0:
                replay(known, following.lines())
        replay(known, following.lines())
    except ApiError as error:
        expired = error.status
    if expired:
        assert (expired, view.version - version > kept) == (410, True)
    else:
        assert known == objects(view, query)[1]


@given(st.lists(CHANGE, max_size=40), st.data())
def test_a_list_at_a_version_is_as_it_was(changes, data):
    view = View(100, kept=20)
    then = {100: []}
    for change in changes:
        put(view, *change)
        then[view.version] = view.items(CONFIG_MAPS)
    version = data.draw(st.sampled_from(sorted(then)))
    try:
        assert view.items(CONFIG_MAPS, version) == then[version]
    except Expired:
        assert view.version - version > 20


@given(st.lists(CHANGE, max_size=20), CHANGE, st.integers(1, 4))
def test_pages_are_one_list_as_it_was_at_the_first(changes, later, limit):
    view = View(100)
    for change in changes:
        put(view, *change)
    whole = objects(view)
    pages, proceed = {}, ""
    while True:
        body = json.loads(listed(view, asked_list(f"limit={limit}&continue={proceed}")))
        assert len(body["items"]) <= limit
        assert int(body["metadata"]["resourceVersion"]) == whole[0]
        pages |= {name(one): one for one in body["items"]}
        proceed = body["metadata"].get("continue", "")
        put(view, *later)  # nothing of it may be seen
        if not proceed:
            break
        assert len(pages) + body["metadata"]["remainingItemCount"] == len(whole[1])
    assert pages == whole[1]


def test_a_change_counts_once_and_the_same_again_not_at_all():
    view = View(100)
    put(view, KEYS[0], ("web", 1))
    put(view, KEYS[0], ("web", 1))
    put(view, KEYS[1], None)
    assert view.version == 101
    view.replace(CONFIG_MAPS, [config(KEYS[1], ("db", 1))])
    assert [(one.key, one.new is None) for one in view.since(CONFIG_MAPS, 101)] == [(KEYS[0], True), (KEYS[1], False)]


def test_a_version_of_another_life_is_expired():
    view = View(1000)
    put(view, KEYS[0], ("web", 1))
    for version in (1, 999, 1002, 10**18):
        with pytest.raises(Expired):
            view.since(CONFIG_MAPS, version)
        with pytest.raises(ApiError) as caught:
            Following(view, asked_watch(version)).start()
        assert (caught.value.status, caught.value.reason) == (410, "Expired")
    with pytest.raises(ApiError, match="too old resource version"):
        listed(view, asked_list("resourceVersion=5000"))


def test_changes_of_one_resource_do_not_push_out_those_of_another():
    view = View(100, kept=2)
    view.put(PODS, KEYS[0], config(KEYS[0], ("web", 1), PODS))
    version = view.version
    for number in range(10):
        put(view, KEYS[0], ("web", number))
    assert view.since(PODS, version) == []
    with pytest.raises(Expired):
        view.since(CONFIG_MAPS, version)


def test_a_slow_watch_is_told_to_list_anew():
    view = View(100, kept=2)
    following = Following(view, asked_watch(100))
    for number in range(5):
        put(view, KEYS[0], ("web", number))
    with pytest.raises(ApiError) as caught:
        following.lines()
    assert caught.value.status == 410


def test_a_watch_without_a_version_begins_with_all_there_is_and_a_bookmark():
    view = View(100)
    put(view, KEYS[0], ("web", 1))
    target = f"{PATH}?watch=true&allowWatchBookmarks=true&sendInitialEvents=true&resourceVersionMatch=NotOlderThan"
    watch = asked(target, "")
    assert isinstance(watch, Watch)
    first, mark = map(json.loads, Following(view, watch).lines())
    assert (first["type"], name(first["object"])) == ("ADDED", ("a", "x"))
    assert mark["type"] == "BOOKMARK"
    about = mark["object"]["metadata"]
    assert about["resourceVersion"] == "101"
    assert about["annotations"] == {"k8s.io/initial-events-end": "true"}


def test_an_annotation_that_looks_like_a_version_is_left_alone():
    view = View(100)
    key = KEYS[0]
    body = {"data": {"resourceVersion": "", "text": '"resourceVersion":""'}}
    view.put(CONFIG_MAPS, key, content(CONFIG_MAPS, key, {"annotations": {"resourceVersion": ""}}, body))
    (one,) = objects(view)[1].values()
    assert one["metadata"]["resourceVersion"] == "101"
    assert one["metadata"]["annotations"] == {"resourceVersion": ""}
    assert one["data"] == body["data"]
