"""Documents, notes, commands and the audit log of a gateway."""

import dataclasses

import pytest

from cloudsync.store import AuditEntry, CommandState, transaction
from tests.cloudsync.store.words import TANK, failing
from twin.exchange import Command, CommandDone, DocumentRef, DocumentRow, DocumentState, Outcome


async def test_documents_of_any_kind_are_kept_by_gateway_with_what_is_known_of_those_that_are_gone(store):
    tank = DocumentRef("Device", "plant", "tank")
    route = DocumentRef("Route", "plant\0", "web")
    live = DocumentRow(DocumentState(tank, "u\0", 3, "h\1", frozenset({"u0"})), {"spec": {"a\0": [1, 1.5, None, True]}})
    gone = DocumentRow(DocumentState(route, "", 0, "", frozenset({"a", "b"})), None)
    async with store.transaction("gw-1") as tx:
        await tx.put_document(live)
        await tx.put_document(gone)
        assert await tx.documents() == {tank: live, route: gone}
        assert await tx.document_states() == {tank: live.state, route: gone.state}
    newer = DocumentRow(live.state._replace(generation=4, hash="i"), {"spec": {}})
    async with store.transaction("gw-1") as tx:
        await tx.put_document(newer)
    async with store.transaction("gw-2") as tx:
        assert await tx.documents() == {}
        await tx.put_document(live)
    async with store.transaction("gw-1") as tx:
        assert await tx.documents() == {tank: newer, route: gone}


async def test_notes_are_kept_by_gateway_and_owner_and_deleted_with_none(store):
    async with store.transaction("gw-1") as tx:
        await tx.note("aws", "a", "1")
        await tx.note("aws", "a", "2")
        await tx.note("aws", "b\0", "x\0y")
        await tx.note("kube", "a", "3")
        assert await tx.notes("aws") == {"a": "2", "b\0": "x\0y"}
        await tx.note("aws", "b\0", None)
        await tx.note("aws", "nosuch", None)
    async with store.transaction("gw-1") as tx:
        assert (await tx.notes("aws"), await tx.notes("kube")) == ({"a": "2"}, {"a": "3"})
    async with store.transaction("gw-2") as tx:
        assert await tx.notes("aws") == {}


def command(number, **more):
    return CommandState(Command("", f"c{number}", 1000 + number, TANK, {"valve": number, "note": "ü\0"}, "a\0"), **more)


DONE = CommandDone("", "c1", Outcome.REFUSED, "invalid_value", "valve: too much", "Less.")


async def test_commands_wait_in_order_until_they_end_and_say_then_how(store):
    async with store.transaction("gw-1") as tx:
        for number in (2, 1, 3):
            await tx.put_command(command(number))
        assert await tx.commands() == [command(2), command(1), command(3)]
        await tx.put_command(command(1, done=DONE))
        assert await tx.commands() == [command(2), command(3)]
    assert await store.command("gw-1", "c1") == command(1, done=DONE)
    assert await store.command("gw-1", "c2") == command(2)
    assert await store.command("gw-2", "c2") is None
    assert await store.command("gw-1", "nosuch") is None


async def test_of_the_ended_commands_only_the_newest_are_kept(store, monkeypatch):
    monkeypatch.setattr(transaction, "ENDED_COMMANDS", 2)
    async with store.transaction("gw-1") as tx:
        await tx.put_command(command(0))
        for number in range(1, 5):
            await tx.put_command(command(number))
            done = dataclasses.replace(DONE, id=f"c{number}")
            await tx.put_command(command(number, done=done))
        assert await tx.commands() == [command(0)]
    kept = [number for number in range(5) if await store.command("gw-1", f"c{number}") is not None]
    assert kept == [0, 3, 4]


async def test_the_audit_log_gives_the_newest_lines_oldest_first(store):
    entries = [AuditEntry(at, ("ann", "bob")[at % 2], "set", f"t{at}", "a\0b", "denied") for at in range(1, 8)]
    async with store.transaction("gw-1") as tx:
        for entry in entries[:4]:
            await tx.audit(entry)
    for entry in entries[4:]:
        await store.audit(entry)
    assert await store.audit_log() == entries
    assert await store.audit_log(limit=2) == entries[-2:]
    assert await store.audit_log(since=5) == entries[4:]
    assert await store.audit_log(account="bob", limit=2) == [entries[4], entries[6]]
    assert await store.audit_log(account="nosuch") == []


async def test_old_lines_of_the_audit_log_are_dropped(store):
    entries = [AuditEntry(at, "ann", "set", f"t{at}") for at in range(1, 5)]
    for entry in entries:
        await store.audit(entry)
    assert await store.drop_audit(before=3) == 2
    assert await store.audit_log() == entries[2:]
    assert await store.drop_audit(before=3) == 0


async def test_lines_of_a_transaction_that_failed_are_not_in_the_log(store):
    with pytest.raises(ZeroDivisionError):
        await failing(store, lambda tx: tx.audit(AuditEntry(1, "ann", "set", "t")))
    assert await store.audit_log() == []
