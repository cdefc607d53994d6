"""A program that cuts the power of a file system under a writer, again and again, and checks what the disk kept.

unshare -m --propagation private python -m tests.faults.power_cut FOLDER ext4|xfs twins|registry ROUNDS SEED [careless]

It runs in a mount namespace of its own, because any other that still sees the mount keeps the dead file system alive.
A round: the writer runs, is frozen (else a commit in flight may be acknowledged after the cut), the file system is
shut down without flushing its journal, the writer killed; then mounted again, which recovers the journal, and read.
Prints one JSON object: rounds, acknowledged, lost (acknowledged and not on disk), broken (files not readable).
"""

import fcntl
import json
import os
import random
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

from tests.faults.writer import READERS
from twin.errors import StoreError

SHUTDOWN = 0x8004587D  # _IOR('X', 125, __u32): EXT4_IOC_SHUTDOWN, XFS_IOC_GOINGDOWN
NO_LOG_FLUSH = (2).to_bytes(4, sys.byteorder)
MKFS = {"ext4": ("mkfs.ext4", "-q", "-F"), "xfs": ("mkfs.xfs", "-q", "-f")}
SIZE_BYTES = 320 * 1024 * 1024  # the least that mkfs.xfs takes; the file has holes


class Lines:
    """What the writer acknowledged, read as it comes so that the pipe never holds it back."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self.newest: dict[str, int] = {}
        self.count = 0
        self._process = process
        self._thread = threading.Thread(target=self._read)
        self._thread.start()

    def _read(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            if line.endswith("\n"):
                name, value = line.split()
                self.newest[name] = int(value)
                self.count += 1

    def wait(self, count: int) -> None:
        deadline_s = time.monotonic() + 30
        while self.count < count:
            assert self._process.poll() is None, "the writer ended"
            assert time.monotonic() < deadline_s, f"only {self.count} acknowledged"
            time.sleep(0.002)

    def join(self) -> None:
        self._thread.join(10)
        assert not self._thread.is_alive()


def freeze(pid: int) -> None:
    os.kill(pid, signal.SIGSTOP)
    deadline_s = time.monotonic() + 10
    tasks = Path(f"/proc/{pid}/task")
    while any(task.joinpath("stat").read_text().rpartition(")")[2].split()[0] != "T" for task in tasks.iterdir()):
        assert time.monotonic() < deadline_s, "the writer cannot be frozen"
        time.sleep(0.001)


def shut_down(place: Path) -> None:
    fd = os.open(place, os.O_RDONLY)
    try:
        fcntl.ioctl(fd, SHUTDOWN, NO_LOG_FLUSH)
    finally:
        os.close(fd)


def cut_once(place: Path, what: str, rng: random.Random, careless: list[str]) -> tuple[int, dict[str, int]]:
    """Run a writer until the power goes; how much it acknowledged, and the newest by name."""
    program = [sys.executable, "-m", "tests.faults.writer", what, str(place), *careless]
    with subprocess.Popen(program, stdout=subprocess.PIPE, text=True) as writer:
        lines = Lines(writer)
        try:
            lines.wait(rng.randrange(1, 200))
            time.sleep(rng.uniform(0, 0.05))
            freeze(writer.pid)
            shut_down(place)
        finally:
            writer.kill()
            writer.wait()
            lines.join()
    return lines.count, lines.newest


def main() -> None:
    folder, kind, what, rounds, seed, *careless = sys.argv[1:]
    image, place = Path(folder) / "image", Path(folder) / "disk"
    with image.open("wb") as file:
        file.truncate(SIZE_BYTES)
    subprocess.run([*MKFS[kind], str(image)], check=True)
    place.mkdir()
    rng = random.Random(int(seed))
    acknowledged, lost, broken = 0, 0, []
    mounted = False

    def mount() -> None:
        nonlocal mounted
        subprocess.run(["mount", "-t", kind, "-o", "loop", str(image), str(place)], check=True)
        mounted = True

    def unmount() -> None:
        nonlocal mounted
        subprocess.run(["umount", str(place)], check=True)
        mounted = False

    try:
        for _ in range(int(rounds)):
            mount()
            count, newest = cut_once(place, what, rng, careless)
            unmount()
            mount()
            acknowledged += count
            try:
                found = READERS[what](place)
            except (StoreError, AssertionError) as error:
                broken.append(str(error))
                for one in place.iterdir():
                    if one.is_file():
                        one.unlink()
            else:
                lost += sum(max(0, value - found.get(name, 0)) for name, value in newest.items())
            unmount()
    finally:
        if mounted:
            subprocess.run(["umount", "--lazy", str(place)], check=False)
    outcome = {"rounds": int(rounds), "acknowledged": acknowledged, "lost": lost, "broken": broken}
    sys.stdout.write(json.dumps(outcome) + "\n")


if __name__ == "__main__":
    main()
