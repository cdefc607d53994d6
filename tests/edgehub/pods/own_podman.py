"""A podman of the tests' own, and an image that is made here: busybox, and a name for each of its programs."""

from __future__ import annotations

import os
import random
import shutil
import subprocess
import tarfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path

from edgehub.pods.model import LogLimits
from edgehub.pods.podman.bodies import Names
from edgehub.pods.podman.conf import PodmanPlace, digest
from edgehub.pods.podman.engine import PodmanEngine
from edgehub.pods.podman.made import MadeByPodman
from edgehub.pods.podman.service import PodmanChoice, PodmanService
from edgehub.pods.records import PodFolders
from twin.clock import SystemClock

IMAGE = "localhost/busybox:1"
BUSYBOX = Path("/bin/busybox")


def missing() -> str:
    """Why podman cannot be tried here, empty if it can."""
    if os.geteuid() != 0:
        return "podman needs root"
    lacks = [name for name in ("podman", "runc", "iptables", "catatonit") if shutil.which(name) is None]
    lacks += [] if BUSYBOX.exists() else ["busybox-static"]
    return f"not installed: {', '.join(lacks)}" if lacks else ""


@dataclass(frozen=True)
class OwnPodman:
    place: PodmanPlace
    subnet: str

    @property
    def socket(self) -> Path:
        """Where the service of all tests listens."""
        return self.place.run / "tests.sock"

    def engine(self, folder: Path, limits: LogLimits | None = None, choice: PodmanChoice | None = None) -> PodmanEngine:
        """An engine over the images and containers of all, with the service of all unless another is chosen."""
        choice = choice or PodmanChoice(socket=str(self.socket))
        service = PodmanService(self.place, choice, SystemClock(), random.Random(1))
        made = MadeByPodman(service, Names(digest(str(folder))), self.subnet)
        return PodmanEngine(PodFolders(folder), made, limits or LogLimits())

    def run(self, *words: str, data: bytes = b"") -> str:
        environment = {**os.environ, **self.place.environment}
        done = subprocess.run(["podman", *words], env=environment, input=data, capture_output=True, check=False)
        assert done.returncode == 0, done.stderr.decode()
        return done.stdout.decode()


@contextmanager
def own_podman(folder: Path, subnet: str) -> Iterator[OwnPodman]:
    """Make it, with the image, and remove all of it at the end."""
    place = PodmanPlace.of(folder)
    place.make()
    podman = OwnPodman(place, subnet)
    podman.run("import", "-", IMAGE, data=busybox_image())
    words = ["podman", "system", "service", "--time=0", f"unix://{podman.socket}"]
    service = subprocess.Popen(words, env={**os.environ, **place.environment}, cwd=place.run, stderr=subprocess.DEVNULL)
    try:
        while not podman.socket.exists():
            assert service.poll() is None
            time.sleep(0.02)
        yield podman
    finally:
        service.terminate()
        service.wait()
        podman.run("pod", "rm", "--all", "--force", "--time", "0")
        podman.run("rm", "--all", "--force", "--time", "0")
        removed(place)


def removed(place: PodmanPlace) -> None:
    """Remove what a podman without containers leaves: its mount and its folders."""
    subprocess.run(["umount", "--lazy", str(place.folder / "storage/overlay")], capture_output=True, check=False)
    shutil.rmtree(place.run, ignore_errors=True)
    shutil.rmtree(place.folder, ignore_errors=True)


def busybox_image() -> bytes:
    """A root folder as an archive."""
    names = subprocess.run([BUSYBOX, "--list"], capture_output=True, text=True, check=True).stdout.split()
    data = BytesIO()
    with tarfile.open(fileobj=data, mode="w") as tar:
        tar.add(BUSYBOX, "bin/busybox")
        for name in names:
            if name != "busybox":
                link = tarfile.TarInfo(f"bin/{name}")
                link.type, link.linkname = tarfile.SYMTYPE, "busybox"
                tar.addfile(link)
        for folder in ("tmp", "etc", "proc", "sys", "dev"):
            made = tarfile.TarInfo(folder)
            made.type, made.mode = tarfile.DIRTYPE, 0o1777 if folder == "tmp" else 0o755
            tar.addfile(made)
    return data.getvalue()
