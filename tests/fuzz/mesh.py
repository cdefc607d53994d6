"""Tables and frames of the mesh as a fuzzer sees them."""

from __future__ import annotations

import contextlib

from mesh.compile import Compiled, change, compile_table
from mesh.difference import table_difference
from mesh.errors import ControlError, InvalidTable
from mesh.frames import Changed, Cutter, Votes, Whole, encode, from_mesh, from_owner
from mesh.model.services import Plane
from mesh.model.table import Table, TableChange
from mesh.state import State
from mesh.wire import check, read_table, write_table
from tests.mesh.test_frames import MESH, OWNER
from tests.mesh.test_wire import FULL


def tables():
    """Seeds: a table with all there is."""
    yield write_table(FULL)
    yield b'{"services": [{"key": "default/web", "address": "127.96.0.1", "ports": [{"port": 80}]}]}'


def table(given: bytes) -> None:
    """Any table is refused, or compiled, written and read again as it was; also if it comes as a change."""
    try:
        found = read_table(given)
    except InvalidTable:
        return
    assert read_table(write_table(found)) == found
    begun = Compiled("gw-1", Plane.NFTABLES)
    whole = compile_table(found, begun)
    after, _ = change(compile_table(FULL, begun), table_difference(FULL, found))
    assert (after.programme, after.problems) == (whole.programme, whole.problems)


def frames():
    """Seeds: all that is said both ways."""
    yield from (encode(frame) for frame in (*OWNER, *MESH))


def frame(given: bytes) -> None:
    """Any bytes on the line are refused, or frames that come back as they were; what they say is taken or refused."""
    state = State(Compiled("gw-1"), 0)
    with contextlib.suppress(ControlError):
        for text in Cutter().take(given):
            with contextlib.suppress(ControlError):
                said = from_mesh(text)
                assert from_mesh(encode(said)[4:]) == said
            heard = from_owner(text)
            assert from_owner(encode(heard)[4:]) == heard
            _take(state, heard)


def _take(state: State, heard: object) -> None:
    match heard:
        case Whole(table=wanted) | Changed(change=wanted):
            with contextlib.suppress(InvalidTable):
                check(wanted)
                state.change(wanted, 1)
        case Votes(node=node, votes=votes):
            state.voted(node, {(one.port, one.place): one.healthy for one in votes}, 1, 2)
    assert isinstance(state.listed, Table)
    assert isinstance(state.change(TableChange(), 3), object)
