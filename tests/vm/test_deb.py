"""Tier 2, opt-in (make test-vm): the real package on a Debian, from installation to purge; systemd does not run."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from hardware.boards import board
from hardware.debian.package import make
from hardware.image import rootfs
from hardware.image.build import SOURCES, Workshop
from hardware.image.cli import TREE
from hardware.image.spec import ImageSpec
from hardware.image.tools import Tools

pytestmark = [
    pytest.mark.vm,
    pytest.mark.timeout(900),
    pytest.mark.skipif(os.geteuid() != 0, reason="a chroot is root's"),
    pytest.mark.skipif(shutil.which("mmdebstrap") is None, reason="needs mmdebstrap"),
]
EPOCH_S = 1_700_000_000
CACHE = TREE / ".cache/images"
STATE = "var/lib/edgetwin/state.db"
HUB_RUNS = """
ip link set lo up
setpriv --reuid=edgetwin --regid=edgetwin --clear-groups env EDGETWIN_STATE=/var/lib/edgetwin edgetwin run &
hub=$!
for _ in $(seq 200); do
    edgetwin status && break
    kill -0 $hub && sleep 0.2
done
kill $hub
wait $hub
"""


class Debian:
    """A Debian in a folder, entered by chroot with a /proc of its own."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def try_run(self, *command: str) -> subprocess.CompletedProcess[str]:
        inside = (
            "unshare",
            "--mount",
            "--pid",
            "--net",
            "--fork",
            "--kill-child",
            f"--root={self.root}",
            "--mount-proc",
        )
        return subprocess.run(
            [*inside, *command], capture_output=True, text=True, timeout=240, check=False, stdin=subprocess.DEVNULL
        )

    def run(self, *command: str) -> str:
        done = self.try_run(*command)
        assert done.returncode == 0, (command, done.stdout, done.stderr)
        return done.stdout

    def install(self, deb: Path) -> None:
        shutil.copy(deb, self.root / "tmp")
        self.run("dpkg", "--install", f"/tmp/{deb.name}")

    def there(self, path: str) -> bool:
        return os.path.lexists(self.root / path)


@pytest.fixture(scope="module")
def packages(tmp_path_factory) -> tuple[Path, Path]:
    out = tmp_path_factory.mktemp("debs")
    shop = Workshop(TREE, CACHE, out, EPOCH_S)
    return make("amd64", "1.0.0", shop, lambda *_: None), make("amd64", "1.1.0", shop, lambda *_: None)


@pytest.fixture
def debian(tmp_path: Path) -> Iterator[Debian]:
    tools = Tools(tmp_path / "log", EPOCH_S)
    spec = ImageSpec(board("qemu-x86-64"), "1.0.0", EPOCH_S, "")
    tar = rootfs.debian(tools, spec, CACHE, sorted([*SOURCES.glob("*.sources"), *SOURCES.glob("*.list")]))
    root = tmp_path / "root"
    root.mkdir()
    leave = ("--exclude=./usr/lib/modules", "--exclude=./lib/modules/*", "--exclude=./boot/*")
    tools.run("tar", "--extract", "--numeric-owner", *leave, "--file", tar, "--directory", root)
    yield Debian(root)
    shutil.rmtree(root)


def test_a_package_is_installed_works_is_upgraded_removed_and_purged(debian: Debian, packages) -> None:
    old, new = packages
    debian.install(old)
    debian.run("dpkg", "--verify", "edgetwin")
    state = debian.root / "var/lib/edgetwin"
    uid = int(debian.run("id", "-u", "edgetwin"))
    assert (state.stat().st_uid, state.stat().st_mode & 0o777) == (uid, 0o700)
    for link in ("current", "proven"):
        assert (debian.root / "opt/edgetwin" / link).readlink() == Path("releases/1.0.0")
    for unit in ("edgetwin", "edgetwin-provision"):
        assert debian.there(f"etc/systemd/system/multi-user.target.wants/{unit}.service")
    assert "(up)" in debian.run("sh", "-c", HUB_RUNS)
    assert debian.there(STATE)

    settings = debian.root / "etc/edgetwin/edgetwin.yaml"
    settings.write_text("log: {level: debug}\n")
    debian.install(new)
    for link in ("current", "proven"):
        assert (debian.root / "opt/edgetwin" / link).readlink() == Path("releases/1.1.0")
    assert not debian.there("opt/edgetwin/releases/1.0.0")
    assert settings.read_text() == "log: {level: debug}\n"
    assert debian.there(STATE)

    newer = debian.root / "opt/edgetwin/releases/2.0.0"
    shutil.copytree(debian.root / "opt/edgetwin/releases/1.1.0/bin", newer / "bin", symlinks=True)
    link = debian.root / "opt/edgetwin/current"
    link.unlink()
    link.symlink_to("releases/2.0.0")
    debian.install(new)
    assert link.readlink() == Path("releases/2.0.0"), "an update's newer release was taken back"
    assert (debian.root / "opt/edgetwin/proven").readlink() == Path("releases/1.1.0"), "its trial was ended"

    debian.run("dpkg", "--remove", "edgetwin")
    assert not debian.there("opt/edgetwin")
    assert not debian.there("usr/bin/edgetwin")
    assert settings.exists()
    assert debian.there(STATE)

    debian.run("dpkg", "--purge", "edgetwin")
    assert not debian.there("var/lib/edgetwin")
    assert not debian.there("etc/edgetwin")
    for unit in ("edgetwin", "edgetwin-provision"):
        assert not debian.there(f"etc/systemd/system/multi-user.target.wants/{unit}.service")
    assert debian.try_run("id", "edgetwin").returncode != 0
