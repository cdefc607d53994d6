"""A program that writes rising numbers for ever and prints each one once it was acknowledged: twins, or documents.

python -m tests.faults.writer twins|registry FOLDER [careless]

It goes on from the greatest number on disk. A careless one does not wait for the disk: the tests must notice.
"""

import asyncio
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from edgehub import storage
from twin import private_file
from twin.clock import SystemClock
from twin.engine import TwinEngine
from twin.errors import StoreError
from twin.model import Kind, PropertySpec, TwinKey, TwinSpec, ValueType
from twin.sqlite_store import SqliteStore

TANK = TwinKey(Kind.DEVICE, "plant", "tank")
NAMES = ("p0", "p1", "p2")


async def write_twins(folder: Path, careless: bool) -> None:
    store = SqliteStore(folder / "state.db")
    store.open()
    if careless:
        store._db.execute("PRAGMA synchronous=OFF")
    with ThreadPoolExecutor(1) as executor:
        engine = TwinEngine(store, clock=SystemClock(), executor=executor)
        engine.open()
        properties = {name: PropertySpec(name, ValueType.INT) for name in NAMES}
        await engine.define(TwinSpec(TANK, "u1", properties=properties)).stored()
        number = max((slot.value for slot in engine.document(TANK).reported.values()), default=0)

        async def count(name: str) -> None:
            nonlocal number
            while True:
                number += 1
                value = number
                outcome = engine.report(TANK, {name: value}, {}, at=value, by="m")
                try:
                    await outcome.commit.stored()
                except StoreError:
                    say("refused", value)
                    await asyncio.sleep(0.01)
                else:
                    say(name, value)

        await asyncio.gather(*map(count, NAMES))


def read_twins(folder: Path) -> dict[str, int]:
    """What is on disk, by property."""
    store = SqliteStore(folder / "state.db")
    store.open()
    try:
        assert store._db.execute("PRAGMA integrity_check").fetchone() == ("ok",)
        found = {at.property: slot.value for at, slot, _ in store.leaves()}
        assert not [text for text in store.lost if "commits of the log" not in text], store.lost
    finally:
        store.close()
    return found


def write_documents(folder: Path, careless: bool) -> None:
    if careless:
        storage.os.fsync = lambda fd: None
        private_file.os.fsync = lambda fd: None
    made = opened_documents(folder)
    number = ((made.read() or {}).get("t") or {"1": {"n": 0}})["1"]["n"]
    while True:
        number += 1
        made.write({"t": {"1": {"n": number, "filler": "x" * (number % 7 * 1000)}}})
        say("n", number)


def read_documents(folder: Path) -> dict[str, int]:
    made = opened_documents(folder)
    try:
        tables = made.read()
    finally:
        made.close()
    assert not list(folder.glob("*.corrupt*"))
    return {} if tables is None else {"n": tables["t"]["1"]["n"]}


def opened_documents(folder: Path) -> storage.FileStorage:
    made = storage.FileStorage(folder / "registry.json", clock=SystemClock(), check=lambda _: "edited")
    made.open()
    return made


def say(name: str, value: int) -> None:
    sys.stdout.write(f"{name} {value}\n")
    sys.stdout.flush()


READERS = {"twins": read_twins, "registry": read_documents}


def main() -> None:
    what, folder, *rest = sys.argv[1:]
    if what == "twins":
        asyncio.run(write_twins(Path(folder), bool(rest)))
    else:
        write_documents(Path(folder), bool(rest))


if __name__ == "__main__":
    main()
