"""Who is believed of what is there: this gateway of itself, peers of themselves, the cloud of the rest."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mesh.model.policies import Policy, StaleRule
from mesh.model.services import Endpoint, Origin
from mesh.registry import Said, merged, merged_service
from mesh.wire import read_table, write_table
from tests.mesh.tables import at, pkey, service, skey, table

pytestmark = pytest.mark.fast

ME = "gw-1"


def said(origin, *endpoints, node="", heard=True):
    return Said(origin, {pkey(): endpoints}, node, heard)


def places(*sources, own=()):
    found = merged_service(service("web", *own), sources, ME)
    return {one.place: one.origin for one in found.ports[0].endpoints}


HERE = at("10.0.1.1:80", node=ME)
GHOST = at("10.0.1.9:80", node=ME)
THERE = at("10.0.2.1:80", node="gw-2")
OLD = at("10.0.2.9:80", node="gw-2")
BROKER = at("192.0.2.1:1883")


def test_of_this_gateway_it_is_believed_itself():
    assert places(said(Origin.HERE, HERE), said(Origin.CLOUD, GHOST, THERE)) == {
        "10.0.1.1:80": Origin.HERE,
        "10.0.2.1:80": Origin.CLOUD,
    }
    assert places(said(Origin.CLOUD, GHOST)) == {}
    assert places(said(Origin.PEER, GHOST, node="gw-2")) == {}


def test_the_cloud_says_ready_and_the_gateway_knows_better():
    cloud = at("10.0.1.1:80", node=ME)
    found = merged_service(
        service("web"),
        [said(Origin.CLOUD, cloud), said(Origin.HERE, at("10.0.1.1:80", node=ME, ready=False))],
        ME,
    )
    assert [(one.origin, one.ready) for one in found.ports[0].endpoints] == [(Origin.HERE, False)]


def test_a_peer_that_is_heard_is_believed_of_itself_alone():
    peer = said(Origin.PEER, THERE, at("10.0.3.1:80", node="gw-3"), node="gw-2")
    assert places(peer, said(Origin.CLOUD, OLD)) == {"10.0.2.1:80": Origin.PEER}


def test_a_peer_that_is_not_heard_gives_way_to_the_cloud():
    peer = said(Origin.PEER, THERE, node="gw-2", heard=False)
    assert places(peer, said(Origin.CLOUD, OLD)) == {"10.0.2.9:80": Origin.CLOUD}


def test_without_anyone_to_hear_what_was_heard_last_of_both_stays():
    peer = said(Origin.PEER, THERE, node="gw-2", heard=False)
    assert places(peer, said(Origin.CLOUD, OLD, heard=False)) == {
        "10.0.2.1:80": Origin.PEER,
        "10.0.2.9:80": Origin.CLOUD,
    }


def test_what_was_applied_here_counts_whatever_others_say():
    assert places(said(Origin.PEER, node="gw-2"), own=[THERE]) == {"10.0.2.1:80": Origin.LISTED}
    assert places(said(Origin.CLOUD, at("10.0.2.1:80", node="gw-2")), own=[THERE]) == {"10.0.2.1:80": Origin.LISTED}


def test_what_is_on_no_gateway_is_believed_of_anyone():
    assert places(said(Origin.CLOUD, BROKER)) == {"192.0.2.1:1883": Origin.CLOUD}
    assert places(said(Origin.CLOUD, BROKER), own=[BROKER]) == {"192.0.2.1:1883": Origin.LISTED}


def test_documents_of_the_cloud_bring_its_endpoints_along():
    assert places(own=[at("10.0.1.9:80", node=ME, origin=Origin.CLOUD)]) == {}


def test_a_service_that_nobody_adds_to_stays_the_same_object():
    web = service("web", THERE)
    assert merged([web], [], ME)[skey()] is web


def test_what_is_on_disk_is_enough_to_be_where_we_were():
    """Documents are: services and what the cloud lists with them; what is here and what peers say is heard anew."""
    own = [THERE, BROKER, at("10.0.3.1:80", node="gw-3", origin=Origin.CLOUD)]
    listed = table(service("web", *own), policies={"web": Policy(stale=StaleRule(9))})
    before = merged(listed.services.values(), [said(Origin.CLOUD, heard=False)], ME)
    again = read_table(write_table(listed))
    assert again == listed
    assert merged(again.services.values(), [said(Origin.CLOUD, heard=False)], ME) == before
    assert {one.place for one in before[skey()].ports[0].endpoints} == {one.place for one in own}


endpoints = st.builds(
    Endpoint,
    st.sampled_from(("10.0.0.1", "10.0.0.2", "10.0.0.3")),
    st.just(80),
    node=st.sampled_from(("", ME, "gw-2", "gw-3")),
    ready=st.booleans(),
)
lists = st.lists(endpoints, max_size=4).map(tuple)
sources = st.lists(
    st.one_of(
        st.builds(lambda all_: said(Origin.HERE, *all_), lists),
        st.builds(lambda all_, heard: said(Origin.CLOUD, *all_, heard=heard), lists, st.booleans()),
        st.builds(
            lambda all_, node, heard: said(Origin.PEER, *all_, node=node, heard=heard),
            lists,
            st.sampled_from(("gw-2", "gw-3", ME)),
            st.booleans(),
        ),
    ),
    max_size=4,
    unique_by=lambda one: (one.origin, one.node),
)


@given(sources, lists, st.randoms())
def test_the_order_in_which_they_speak_means_nothing(found, own, rng):
    shuffled = list(found)
    rng.shuffle(shuffled)
    web = service("web", *own)
    assert merged_service(web, found, ME) == merged_service(web, shuffled, ME)


@given(sources, lists)
def test_merging_again_changes_nothing(found, own):
    once = merged_service(service("web", *own), found, ME)
    assert merged_service(once, found, ME) == once


@given(sources, lists)
def test_nothing_is_made_up_and_no_place_is_there_twice(found, own):
    after = merged_service(service("web", *own), found, ME).ports[0].endpoints
    named = {(one.place, one.node) for one in own}
    for source in found:
        named |= {(one.place, one.node) for one in source.endpoints[pkey()]}
    assert {(one.place, one.node) for one in after} <= named
    assert len({one.place for one in after}) == len(after)
    assert all(one.origin in (Origin.HERE, Origin.LISTED) for one in after if one.node == ME)
