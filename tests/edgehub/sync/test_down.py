"""Messages that wait: in their order, bounded, and documents that came in several as one."""

import asyncio

import pytest

from edgehub.sync.down import MAX_MESSAGES, Down
from twin.exchange import Ack, DocumentRef, DocumentRow, Documents, DocumentState
from twin.link import Message
from twin.wire.sync import encode

pytestmark = pytest.mark.fast


def ref(name):
    return DocumentRef("Service", "plant", name)


def documents(*names, session="s", wanted=()):
    rows = tuple(DocumentRow(DocumentState(ref(name), "u", 1, "h", frozenset()), {"n": name}) for name in names)
    return Documents(session, rows, tuple(map(ref, wanted)))


def taken(*messages):
    async def take():
        down = Down(lambda: None)
        for one in messages:
            down.on_message(Message("down", encode(one)))
        found = []
        while down:
            found.append(down.take())
        return found, down.dropped

    return asyncio.run(take())


def test_documents_of_several_messages_are_one_in_their_order():
    found, _ = taken(documents("a", "b"), documents("c", wanted=("x",)), documents("a"))
    (one,) = found
    assert [row.state.ref.name for row in one.rows] == ["a", "b", "c", "a"]
    assert one.wanted == (ref("x"),)


@pytest.mark.parametrize("between", [Ack("s", 1), documents(), documents("z", session="t")])
def test_nothing_overtakes_and_no_other_session_or_answer_is_mixed_in(between):
    found, _ = taken(documents("a"), between, documents("b"), documents("c"))
    assert found == [documents("a"), between, documents("b", "c")]


def test_an_answer_that_all_is_there_stays_one():
    assert taken(documents(), documents("a"))[0] == [documents(), documents("a")]


def test_what_comes_beyond_the_bound_is_dropped():
    found, dropped = taken(*(Ack("s", number) for number in range(MAX_MESSAGES + 3)))
    assert (len(found), dropped) == (MAX_MESSAGES, 3)
