"""The cloud's end of the exchange of documents: each gateway has a set of its own, which both sides change.

DocumentDigests ──> agreement per document ──> Documents: what the edge lacks, and what is wanted of it
Documents ────────> agreement per document ──> kept; sent back where both know more; twins defined anew
"""

from __future__ import annotations

from cloudsync.definitions import define_devices, remove_ghosts, remove_undocumented
from cloudsync.turn import Turn
from twin.exchange import Ask, DocumentDigests, DocumentRef, DocumentRow, Documents
from twin.manifest.agreement import Take, joined, summary, unknown
from twin.model import Site

MAX_ROWS = 200
"""Documents of one message."""


async def take_digests(turn: Turn, message: DocumentDigests) -> None:
    """Compare all documents, send those that the edge lacks, and ask for the others."""
    if message.summary:
        states = await turn.tx.document_states()
        agree = turn.state.agreed = message.summary == summary(states.values())
        await remove_undocumented(turn, frozenset(message.own))
        if agree:
            await remove_ghosts(turn, states)
        turn.send(Documents(turn.state.session) if agree else Ask(turn.state.session, documents=True))
        return
    mine = await turn.tx.documents()
    theirs = {state.ref: state for state in message.states}
    rows: list[DocumentRow] = []
    wanted: list[DocumentRef] = []
    changed: set[DocumentRef] = set()
    for ref in sorted({*mine, *theirs}):
        own = mine[ref].state if ref in mine else unknown(ref)
        agreed = joined(own, theirs.get(ref, unknown(ref)), site=Site.CLOUD)
        if agreed.take is Take.THEIRS:
            wanted.append(ref)
            continue
        row = DocumentRow(agreed.state, mine[ref].raw if agreed.take is Take.OWN else None)
        if agreed.state != own:
            await turn.tx.put_document(row)
            changed.add(ref)
        if theirs.get(ref) != agreed.state:
            rows.append(row)
    await define_devices(turn, changed)
    await remove_undocumented(turn, frozenset(message.own))
    if rows or wanted:
        _send(turn, rows, wanted)
    else:
        turn.send(Documents(turn.state.session))  # the edge waits for an answer


async def take_documents(turn: Turn, message: Documents) -> None:
    """Keep what both sides come to, tell the edge where that is not what it said, and send what it asked for."""
    mine = await turn.tx.documents()
    rows: list[DocumentRow] = []
    changed: set[DocumentRef] = set()
    for given in message.rows:
        ref = given.state.ref
        own = mine[ref].state if ref in mine else unknown(ref)
        agreed = joined(own, given.state, site=Site.CLOUD)
        if agreed.take is Take.THEIRS and given.raw is None:
            continue  # a life without its content; it is asked for with the next digests
        content = {Take.OWN: mine[ref].raw if ref in mine else None, Take.THEIRS: given.raw, Take.NONE: None}
        row = DocumentRow(agreed.state, content[agreed.take])
        if agreed.state != own:
            await turn.tx.put_document(row)
            changed.add(ref)
        if given.state != agreed.state:
            rows.append(row)
    await define_devices(turn, changed)
    told = {row.state.ref for row in rows}
    rows += [mine[ref] for ref in message.wanted if ref in mine and ref not in told and ref not in changed]
    _send(turn, rows, ())


def send_changed(turn: Turn, rows: list[DocumentRow]) -> None:
    """Tell the gateway of documents that were changed here."""
    turn.state.agreed = turn.state.agreed and not rows
    if turn.state.session:
        _send(turn, rows, ())


def _send(turn: Turn, rows: list[DocumentRow], wanted: list[DocumentRef] | tuple[()]) -> None:
    session = turn.state.session
    for start in range(0, max(len(rows), len(wanted)), MAX_ROWS):
        end = start + MAX_ROWS
        turn.send(Documents(session, tuple(rows[start:end]), tuple(wanted[start:end])))
