"""Two registries and any edits, any order and repetition of what they tell each other: in the end they agree."""

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from twin.exchange import DocumentRef, DocumentState
from twin.manifest.agreement import Take, deleted, joined, replaced, unknown
from twin.model import Site

pytestmark = pytest.mark.fast

REF = DocumentRef("Device", "plant", "tank")
EDGE, CLOUD = Site.EDGE, Site.CLOUD


def state(uid="", generation=0, hash_="", gone=()):
    return DocumentState(REF, uid, generation, hash_, frozenset(gone))


UIDS = ["u1", "u2", "u3"]
LIVING = st.builds(state, st.sampled_from(UIDS), st.integers(1, 3), st.sampled_from("abc"))
STATES = st.builds(
    lambda one, gone: one if one.uid in gone else one._replace(gone=frozenset(gone)),
    LIVING | st.just(unknown(REF)),
    st.sets(st.sampled_from(UIDS)),
)


@given(STATES, STATES)
def test_both_sites_come_to_the_same(edge, cloud):
    assert joined(edge, cloud, site=EDGE).state == joined(cloud, edge, site=CLOUD).state


@given(STATES, STATES)
def test_the_join_is_idempotent_and_its_outcome_is_stable(edge, cloud):
    agreed = joined(edge, cloud, site=EDGE).state
    assert joined(agreed, agreed, site=EDGE).state == agreed
    assert joined(agreed, cloud, site=EDGE).state == agreed
    assert joined(edge, agreed, site=EDGE).state == agreed


@given(STATES, STATES)
def test_what_is_gone_stays_gone_and_is_not_alive(edge, cloud):
    agreed = joined(edge, cloud, site=EDGE).state
    assert agreed.gone >= edge.gone | cloud.gone
    assert agreed.uid not in agreed.gone


@given(STATES, STATES)
def test_the_content_is_that_of_the_life_that_stands(edge, cloud):
    agreed, take = (lambda one: (one.state, one.take))(joined(edge, cloud, site=EDGE))
    living = {Take.OWN: edge, Take.THEIRS: cloud, Take.NONE: unknown(REF)}[take]
    assert (agreed.uid, agreed.generation, agreed.hash) == (living.uid, living.generation, living.hash)


@pytest.mark.parametrize(
    ("edge", "cloud", "wanted"),
    [
        (state("u1", 2, "b"), state("u1", 1, "a"), state("u1", 2, "b")),
        (state("u1", 2, "b"), state("u1", 2, "a"), state("u1", 2, "a")),
        (state("u1", 9, "b"), state("u2", 1, "a"), state("u2", 1, "a", ["u1"])),
        (state("u1", 1, "b"), state(), state("u1", 1, "b")),
        (state("u1", 1, "b"), state(gone=["u1"]), state(gone=["u1"])),
        (state("u2", 1, "b", ["u1"]), state("u1", 5, "a"), state("u2", 1, "b", ["u1"])),
        (state(), state(), state()),
    ],
)
def test_who_wins(edge, cloud, wanted):
    assert joined(edge, cloud, site=EDGE).state == wanted


class Pair:
    """Two sites that edit, and a line that keeps every message, to hand any of them over at any time."""

    def __init__(self):
        self.own = {site: unknown(REF) for site in Site}
        self.content = dict.fromkeys(Site, "")  # what the hash is of
        self.sent = {site: [] for site in Site}
        self.uids = 0
        self.ended = set()

    def edit(self, site, text):
        own = self.own[site]
        if not own.uid:
            self.uids += 1
            new = replaced(own, f"u{self.uids}", 1, text)
        else:
            new = replaced(own, own.uid, own.generation + 1, text)
        self.keep(site, new, text)

    def delete(self, site):
        self.ended |= {self.own[site].uid} - {""}
        self.keep(site, deleted(self.own[site]), "")

    def keep(self, site, new, text):
        self.own[site], self.content[site] = new, text
        self.sent[site].append((new, text))

    def deliver(self, sender, number):
        if self.sent[sender]:
            theirs, text = self.sent[sender][number % len(self.sent[sender])]
            agreed = joined(self.own[sender.peer], theirs, site=sender.peer)
            if agreed.state != self.own[sender.peer]:
                content = {Take.OWN: self.content[sender.peer], Take.THEIRS: text, Take.NONE: ""}[agreed.take]
                self.keep(sender.peer, agreed.state, content)

    def resync(self):
        for _ in range(4):
            for sender in Site:
                self.sent[sender].append((self.own[sender], self.content[sender]))
                self.deliver(sender, -1)


ACTIONS = st.one_of(
    st.tuples(st.just("edit"), st.sampled_from(Site), st.sampled_from("abcd")),
    st.tuples(st.just("delete"), st.sampled_from(Site)),
    st.tuples(st.just("deliver"), st.sampled_from(Site), st.integers(0, 50)),
    st.tuples(st.just("resync")),
)


@given(st.lists(ACTIONS, max_size=40))
def test_any_edits_and_any_delivery_end_in_one_document_and_nothing_comes_back(actions):
    pair = Pair()
    for name, *arguments in actions:
        getattr(pair, name)(*arguments)
        assert all(own.uid not in own.gone for own in pair.own.values())
    pair.resync()
    edge, cloud = (pair.own[site] for site in Site)
    assert edge == cloud
    assert pair.content[EDGE] == pair.content[CLOUD] == edge.hash
    assert edge.uid not in pair.ended
    before = dict(pair.own)
    for sender in Site:
        for number in range(len(pair.sent[sender])):
            pair.deliver(sender, number)
    pair.resync()
    assert pair.own == before


@given(st.integers(0, 2**32), st.sampled_from(Site))
def test_the_last_edit_of_an_agreed_document_stands_on_both_sides(seed, site):
    pair, rng = Pair(), random.Random(seed)
    for _ in range(rng.randrange(6)):
        pair.edit(rng.choice(list(Site)), rng.choice("abc"))
        pair.deliver(rng.choice(list(Site)), rng.randrange(9))
    pair.resync()
    pair.edit(site, "last")
    for _ in range(5):
        pair.deliver(rng.choice(list(Site)), rng.randrange(20))
    pair.resync()
    assert pair.own[EDGE] == pair.own[CLOUD]
    assert pair.own[EDGE].hash == "last"
