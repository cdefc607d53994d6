"""What a test needs to work inside a guest: programs on a disk of their own, and a line over which they are run.

The image under test is not changed: the unit that starts the agent lies in the changes of /etc, on the data partition.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import json
import subprocess
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hardware.board import BoardProfile, PartitionRole
from hardware.image.partitions import placed

HERE = Path(__file__).resolve().parent
UNIT = """[Unit]
Description=lab
DefaultDependencies=no
After=local-fs.target
Conflicts=shutdown.target

[Service]
ExecStartPre=/bin/mkdir -p /run/lab
ExecStartPre=/bin/sh -c "mountpoint -q /run/lab || mount -o ro /dev/disk/by-id/virtio-lab /run/lab"
ExecStart=/usr/bin/python3 -u /run/lab/agent.py
Restart=always
RestartSec=1
StandardOutput=journal+console
StandardError=journal+console
"""
PATIENCE = "[Manager]\nDefaultDeviceTimeoutSec=900\nDefaultTimeoutStartSec=900\n"
"""An emulator beside other work may take minutes for what systemd waits 90 s for."""
WANTED = "etc/upper/systemd/system/multi-user.target.wants"

MANAGER = "etc/upper/systemd/system.conf"


@dataclass(frozen=True, slots=True)
class Done:
    """What a command in the guest came to."""

    rc: int
    out: str
    err: str

    def json(self) -> Any:
        assert self.out, self.err
        return json.loads(self.out)


def plant(disk: Path, board: BoardProfile, folder: Path) -> None:
    """Have the agent start with the system of this disk."""
    unit = folder / "lab.service"
    unit.write_text(UNIT)
    data = next(one for one in placed(board.partitions) if one.partition.role is PartitionRole.DATA)
    patience = folder / "patience.conf"
    patience.write_text(PATIENCE)
    made = ["etc", "etc/upper", "etc/upper/systemd", "etc/upper/systemd/system", WANTED, f"{MANAGER}.d"]
    lines = [f"mkdir /{name}" for name in made]
    lines += [f"write {unit} /etc/upper/systemd/system/lab.service"]
    lines += [f"write {patience} /{MANAGER}.d/lab.conf"]
    lines += [f"symlink /{WANTED}/lab.service /etc/systemd/system/lab.service"]
    words = ("debugfs", "-w", "-f", "-", f"{disk}?offset={data.offset}")
    done = subprocess.run(words, input="\n".join(lines), text=True, capture_output=True, check=True, timeout=60)
    assert "lab.service" in done.stdout, done.stderr


def lab_disk(out: Path, folder: Path, more: Iterable[Path] = ()) -> None:
    """A disk with the agent, the other programs of ``lab`` and what else is named."""
    tree = folder / "lab-tree"
    tree.mkdir()
    for one in (*sorted((HERE / "lab").glob("*.py")), *more):
        subprocess.run(["cp", "-r", "--reflink=auto", one, tree], check=True, timeout=60)
    with out.open("wb") as file:
        file.truncate(96 * 2**20)
    subprocess.run(["mkfs.ext4", "-q", "-F", "-d", tree, out], check=True, timeout=120)


def words_for(disk: Path, socket: Path) -> tuple[str, ...]:
    """What qemu is told, for the disk and the line."""
    return (
        *(
            "-drive",
            f"file={disk},format=raw,if=none,id=lab,readonly=on",
            "-device",
            "virtio-blk-pci,drive=lab,serial=lab",
        ),
        *("-device", "virtio-serial-pci", "-chardev", f"socket,id=line,path={socket},server=on,wait=off"),
        *("-device", "virtserialport,chardev=line,name=lab"),
    )


class Restarted(Exception):
    """The machine went down before it answered."""


class Lab:
    """The line to the agent of a guest."""

    def __init__(self, socket: Path) -> None:
        self._socket = socket
        self._ids = itertools.count(1)
        self._waiting: dict[int, asyncio.Future[Done]] = {}
        self._reading: asyncio.Task[None] | None = None
        self._writer: asyncio.StreamWriter | None = None
        self.up = asyncio.Event()
        """Set when the agent said that it is there; cleared by whom wants to see it come again."""

    async def __aenter__(self) -> Lab:
        async with asyncio.timeout(30):
            while not self._socket.exists():  # noqa: ASYNC110  # qemu makes it
                await asyncio.sleep(0.05)
        reader, self._writer = await asyncio.open_unix_connection(str(self._socket), limit=2**24)
        self._reading = asyncio.create_task(self._read(reader))
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._reading is not None
        self._reading.cancel()
        await asyncio.gather(self._reading, return_exceptions=True)
        assert self._writer is not None
        self._writer.close()

    async def run(self, *words: str, stdin: str = "", timeout_s: float = 300.0, check: bool = True) -> Done:
        """Run a command in the guest as root. Raises Restarted."""
        number = next(self._ids)
        self._waiting[number] = asyncio.get_running_loop().create_future()
        asked = {"id": number, "words": words, "stdin": stdin, "timeout_s": timeout_s}
        assert self._writer is not None
        self._writer.write(json.dumps(asked).encode() + b"\n")
        try:
            async with asyncio.timeout(timeout_s + 30):
                done = await self._waiting[number]
        finally:
            self._waiting.pop(number, None)
        assert done.rc == 0 or not check, f"{' '.join(words)}: {done.rc}\n{done.out}\n{done.err}"
        return done

    async def until(self, *words: str, so: Callable[[Done], bool], timeout_s: float = 600.0) -> Done:
        """Run a command again and again, over restarts, until its result is as wanted; the last is in the error."""
        done = Done(-1, "", "never run")
        try:
            async with asyncio.timeout(timeout_s):
                while True:
                    with contextlib.suppress(Restarted):
                        done = await self.run(*words, check=False)
                        if so(done):
                            return done
                    await asyncio.sleep(0.5)
        except TimeoutError:
            raise AssertionError(f"{' '.join(words)} after {timeout_s} s: {done}") from None

    async def _read(self, reader: asyncio.StreamReader) -> None:
        while line := await reader.readline():
            if not line.startswith(b"{"):
                continue  # the rest of a line of an agent that was cut off
            answer = json.loads(line)
            if answer["id"] == 0:
                self.up.set()
                for waiting in self._waiting.values():
                    if not waiting.done():
                        waiting.set_exception(Restarted())
            elif (waiting := self._waiting.get(answer["id"])) is not None and not waiting.done():
                waiting.set_result(Done(answer["rc"], answer["out"], answer["err"]))
