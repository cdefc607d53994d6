"""The Debian package, as far as one sees without installing it: dpkg reads it, it holds what it should."""

from __future__ import annotations

import itertools
import os
import shutil
import subprocess
from pathlib import Path

import pytest
import yaml

from hardware.debian.files import _AS_DEBIAN, control_files, debian_version, package_files
from hardware.debian.package import EXAMPLE, pack, put
from hardware.debian.release import LIBRARIES, folder_of, release_files
from hardware.image.cli import TREE
from hardware.image.tools import Tools

pytestmark = pytest.mark.skipif(shutil.which("dpkg-deb") is None, reason="needs dpkg")
EPOCH_S = 1_700_000_000
RELEASE = "1.2.0"


def run(*command: str | Path) -> str:
    return subprocess.run(command, capture_output=True, text=True, check=True, timeout=60).stdout


def packed(folder: Path, name: str = "made.deb", umask: int = 0o022) -> Path:
    """A package as it is made, but with one library that is no library."""
    root = folder / f"{name}.root"
    before = os.umask(umask)
    try:
        put(root, package_files((TREE / EXAMPLE).read_text()))
        place = root / folder_of(RELEASE)[1:]
        for file in release_files(RELEASE):
            path = place / file.path
            path.parent.mkdir(parents=True, exist_ok=True)
            if file.target:
                path.symlink_to(file.target)
            else:
                path.write_text(file.text)
                path.chmod(file.mode)
        library = place / LIBRARIES / "library.py"
        library.parent.mkdir(parents=True)
        library.write_text("x = 1\n" * 1000)
        out = folder / name
        pack(Tools(folder / "log", EPOCH_S), root, "arm64", RELEASE, EPOCH_S, out)
    finally:
        os.umask(before)
    return out


def test_equal_inputs_give_equal_bytes_whoever_builds(tmp_path: Path) -> None:
    assert packed(tmp_path).read_bytes() == packed(tmp_path, "again.deb", umask=0o077).read_bytes()


def test_dpkg_reads_what_it_is_and_what_it_needs(tmp_path: Path) -> None:
    deb = packed(tmp_path)
    fields = dict(line.split(": ", 1) for line in run("dpkg-deb", "--field", deb).splitlines() if line[0] != " ")
    assert (fields["Package"], fields["Version"], fields["Architecture"]) == ("edgetwin", RELEASE, "arm64")
    assert {"python3 (>= 3.11)", "python3 (<< 3.12)", "mosquitto"} <= set(fields["Depends"].split(", "))
    control = tmp_path / "control"
    run("dpkg-deb", "--control", deb, control)
    assert (control / "conffiles").read_text() == "/etc/edgetwin/edgetwin.yaml\n"
    for script in ("postinst", "prerm", "postrm"):
        assert (control / script).stat().st_mode & 0o777 == 0o755
        run("sh", "-n", control / script)
    unpacked = tmp_path / "unpacked"
    run("dpkg-deb", "--extract", deb, unpacked)
    subprocess.run(["md5sum", "--quiet", "-c", control / "md5sums"], cwd=unpacked, check=True, timeout=20)


def test_all_belongs_to_root_and_nobody_else_may_write(tmp_path: Path) -> None:
    for line in run("dpkg-deb", "--contents", packed(tmp_path)).splitlines():
        mode, owner, *_ = line.split()
        assert owner == "root/root"
        assert mode in ("-rw-r--r--", "-rwxr-xr-x", "drwxr-xr-x", "lrwxrwxrwx"), line


def test_settings_say_nothing_until_somebody_writes_them(tmp_path: Path) -> None:
    (text,) = [one.text for one in package_files((TREE / EXAMPLE).read_text()) if one.path.endswith("edgetwin.yaml")]
    assert yaml.safe_load(text) is None
    assert "# broker:\n#   url:" in text


def test_a_release_names_its_own_python_so_that_switching_does_not_mix_two() -> None:
    files = {one.path: one for one in release_files(RELEASE)}
    assert files["bin/edgetwin"].text.startswith("#!/opt/edgetwin/releases/1.2.0/bin/python3 -sP\n")
    assert files["bin/python3"].target == "/usr/bin/python3.11"


def test_releases_have_the_order_of_debian() -> None:
    order = ["1.2.0.dev1", "1.2.0a1", "1.2.0a2", "1.2.0b1", "1.2.0rc1", "1.2.0rc10", "1.2.0", "1.2.0.post1", "1.10"]
    for older, newer in itertools.pairwise(order):
        words = ["dpkg", "--compare-versions", debian_version(older), "lt", debian_version(newer)]
        assert subprocess.run(words, check=False, timeout=10).returncode == 0, words
        assert run_sed(older) == debian_version(older)


def run_sed(release: str) -> str:
    """As the maintainer script has it."""
    return subprocess.run(["sed", "-E", _AS_DEBIAN], input=release, capture_output=True, text=True, check=True).stdout


def test_a_newer_release_that_an_update_brought_is_not_taken_back() -> None:
    (script,) = [one.text for one in control_files("1.2.0rc1", "amd64", 1) if one.path == "postinst"]
    assert 'dpkg --compare-versions "1.2.0~rc1" gt' in script
