"""Images, as far as one sees without root: layout, the choice of a slot, files of the system, manifests."""

from __future__ import annotations

import configparser
import json
import platform
import queue
import re
import shutil
import subprocess
import zipfile
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest

from hardware.board import PartitionRole
from hardware.boards import board, boards
from hardware.errors import BuildFailed
from hardware.grubenv import NEW
from hardware.image.build import Workshop, build
from hardware.image.files import system_files
from hardware.image.grub import SLOTS, grub_cfg
from hardware.image.manifest import Component, components_of, sbom
from hardware.image.partitions import MIB, image_bytes, placed, table_script
from hardware.image.spec import ImageSpec
from hardware.image.tools import Tools, can_run
from hardware.image.trim import is_spared, spared
from hardware.image.wheels import lay_out_sparingly
from tests.hardware.test_grubenv import Environment

SPEC = ImageSpec(board("qemu-x86-64"), "1.0.0", 1_700_000_000, "0" * 64)
needs_grub = pytest.mark.skipif(shutil.which("grub-script-check") is None, reason="needs grub-common")


@pytest.mark.parametrize("one", boards(), ids=lambda one: one.name)
def test_partitions_lie_behind_each_other_inside_the_image(one) -> None:
    at = MIB
    for part in placed(one.partitions):
        assert part.offset == at
        at += part.partition.size_bytes
    assert image_bytes(one.partitions) == at + MIB


def test_the_table_names_each_partition_with_an_id_of_its_own_that_stays() -> None:
    script = table_script(SPEC)
    ids = re.findall(r"uuid=(\S+),", script)
    assert len(ids) == len(set(ids)) == len(SPEC.board.partitions)
    assert table_script(replace(SPEC, release="2.0.0")) == script
    assert table_script(replace(SPEC, board=board("x86-64"))) != script


def chosen(environment: dict[str, str]) -> tuple[str, dict[str, str]]:
    """Run the choice of a slot in a shell: GRUB's language is the shell's as far as it is used here."""
    script = grub_cfg(SPEC).replace("load_env", "").replace("\nboot\n", "\n")
    script = re.sub(r"\bset (?=\w+=)", "", script)
    script = re.sub(r"^(  root=\(|regexp ).*$", "", script, flags=re.MULTILINE)
    script = script.replace("save_env A_TRY B_TRY", 'echo "saved $A_TRY $B_TRY"')
    script = re.sub(r"^  (linux|initrd) ", r"  echo \1 ", script, flags=re.MULTILINE)
    head = "".join(f"{key}='{value}'\n" for key, value in environment.items())
    done = subprocess.run(["sh", "-c", head + script], capture_output=True, text=True, check=True, timeout=10)
    (slot,) = re.findall(r"rauc.slot=(\w)", done.stdout)
    for a_try, b_try in re.findall(r"saved (\d) (\d)", done.stdout):
        environment = {**environment, "A_TRY": a_try, "B_TRY": b_try}
    return slot, environment


def test_a_new_image_boots_its_only_system_and_counts_the_try() -> None:
    slot, after = chosen(NEW)
    assert (slot, after["A_TRY"], after["B_TRY"]) == ("A", "1", "0")


def test_an_update_gets_three_tries_and_then_the_old_system_comes_back() -> None:
    now = {**NEW, "ORDER": "B A", "B_OK": "1"}
    slots = []
    for _ in range(4):
        slot, now = chosen(now)
        slots.append(slot)
        if slot == "A":
            now["A_TRY"] = "0"  # the old system is well and says so
    assert slots == ["B", "B", "B", "A"]


def test_tries_of_a_slot_that_was_marked_good_do_not_count(tmp_path: Path) -> None:
    now = Environment(tmp_path, NEW).set("A_OK=1", "A_TRY=0")
    for _ in range(10):  # power cuts before it could say that it is well
        slot, now = chosen(now)
        assert (slot, now["A_TRY"]) == ("A", "0")


def test_an_update_that_fails_leaves_the_sure_slot_for_ever(tmp_path: Path) -> None:
    environment = Environment(tmp_path, NEW)
    for pairs in (("A_OK=1", "A_TRY=0"), ("B_OK=0", "B_TRY=0"), ("B_OK=1", "B_TRY=0", "ORDER=B A")):
        now = environment.set(*pairs)
    slots = []
    for _ in range(8):
        slot, now = chosen(now)
        slots.append(slot)
    assert slots == ["B"] * 3 + ["A"] * 5


def test_where_the_state_of_the_slots_is_lost_the_oldest_boots_first_and_the_other_after_it() -> None:
    assert chosen({})[0] == "A"


def test_a_slot_that_is_not_ok_is_never_chosen_while_another_has_tries() -> None:
    assert chosen({**NEW, "ORDER": "B A", "B_OK": "0"})[0] == "A"


def test_when_all_tries_are_spent_the_newest_is_tried_again_for_ever() -> None:
    now = {**NEW, "ORDER": "B A", "B_OK": "1", "A_TRY": "3", "B_TRY": "3"}
    slot, after = chosen(now)
    assert slot == "B"
    assert (after["A_TRY"], after["B_TRY"]) == ("0", "0")


@needs_grub
def test_grub_takes_the_configuration(tmp_path: Path) -> None:
    path = tmp_path / "grub.cfg"
    path.write_text(grub_cfg(SPEC))
    subprocess.run(["grub-script-check", path], check=True, timeout=20)


@pytest.mark.parametrize("one", boards(), ids=lambda one: one.name)
def test_files_of_the_system_are_each_there_once_and_named_from_the_root(one) -> None:
    paths = [file.path for file in system_files(replace(SPEC, board=one))]
    assert len(paths) == len(set(paths))
    assert not [path for path in paths if path.startswith("/") or ".." in path]


def text_of(path: str, name: str = "industrial-x86") -> str:
    return next(one.text for one in system_files(replace(SPEC, board=board(name))) if one.path == path)


def test_a_serial_port_gets_its_stable_name_and_a_watchdog_no_longer_time_than_the_chip_takes() -> None:
    rules = text_of("etc/udev/rules.d/70-edgetwin.rules")
    assert 'SUBSYSTEM=="tty", KERNEL=="ttyS1", SYMLINK+="gateway/rs485-1"' in rules
    for one in boards():
        if one.watchdog is not None:
            text = text_of("etc/systemd/system.conf.d/edgetwin.conf", one.name)
            assert int(re.findall(r"RuntimeWatchdogSec=(\d+)", text)[0]) <= one.watchdog.max_s


def test_only_data_is_written_and_the_journal_is_not() -> None:
    rows = [line.split() for line in text_of("etc/fstab", SPEC.board.name).splitlines()]
    assert {row[2] for row in rows} == {"vfat", "ext4", "tmpfs", "none"}
    assert "Storage=volatile" in text_of("etc/systemd/journald.conf.d/edgetwin.conf")
    kept = ["/var/lib/edgetwin", "/var/lib/edgetwin-update", "/var/lib/systemd"]
    assert [row[1] for row in rows if row[2] == "none"] == kept


@pytest.mark.skipif(shutil.which("nft") is None, reason="needs nftables")
def test_the_filter_is_one_that_nft_reads(tmp_path: Path) -> None:
    path = tmp_path / "filter.nft"
    path.write_text(text_of("etc/nftables.conf").replace('include "/etc/nftables.d/*.nft"', ""))
    done = subprocess.run(["nft", "--check", "--file", path], capture_output=True, text=True, timeout=20, check=False)
    if "Operation not permitted" in done.stderr:
        pytest.skip("needs root for nft")
    assert done.returncode == 0, done.stderr


def test_updates_are_taken_of_nobody_unless_a_keyring_is_given() -> None:
    without = {one.path for one in system_files(SPEC)}
    assert "etc/rauc/system.conf" not in without
    files = {one.path: one.text for one in system_files(replace(SPEC, keyring="PEM"))}
    assert files["etc/rauc/keyring.pem"] == "PEM"
    said = configparser.ConfigParser()
    said.read_string(files["etc/rauc/system.conf"])
    assert said["system"]["compatible"] == SPEC.board.update_string
    assert said["keyring"]["path"] == "/etc/rauc/keyring.pem"
    slots = {said[name]["bootname"]: said[name]["device"] for name in said.sections() if name.startswith("slot.")}
    assert slots == {name: f"/dev/disk/by-partuuid/{SPEC.uuid(part)}" for name, part in SLOTS.items()}


def test_packages_are_named_once_and_decide_what_is_kept() -> None:
    assert len(SPEC.packages) == len(set(SPEC.packages))
    assert "linux-image-cloud-amd64" in SPEC.packages
    assert SPEC.root_key == replace(SPEC, release="2.0.0", wheels="1" * 64).root_key
    assert SPEC.root_key != replace(SPEC, epoch_s=1).root_key
    assert SPEC.root_key != replace(SPEC, board=board("x86-64")).root_key


def test_a_package_that_was_taken_out_is_not_in_the_bill_of_materials(tmp_path: Path) -> None:
    lists = tmp_path / "var/lib/dpkg/info"
    lists.mkdir(parents=True)
    names = ("perl-base", "half", "meta", "whole")
    (lists.parent / "status").write_text("\n\n".join(f"Package: {name}\nVersion: 1" for name in names))
    (tmp_path / "usr/bin").mkdir(parents=True)
    for name in ("half", "whole"):
        (tmp_path / f"usr/bin/{name}").touch()
    (lists / "perl-base.list").write_text("/.\n/usr\n/usr/bin\n/usr/bin/perl\n/usr/share/doc/perl/README\n")
    (lists / "half:amd64.list").write_text("/.\n/usr/bin\n/usr/bin/half\n/usr/bin/gone\n")
    (lists / "meta.list").write_text("/.\n/usr\n/usr/share/doc/meta\n")
    (lists / "whole.list").write_text("/.\n/usr/bin\n/usr/bin/whole\n")
    assert [one.name for one in components_of(tmp_path, [])] == ["half", "meta", "whole"]


def test_libraries_for_people_at_a_desk_are_spared_and_what_shows_errors_stays(tmp_path: Path) -> None:
    for name in ("pytest", "twin", "pygments/lexers", "tzdata-2026.6.dist-info"):
        (tmp_path / name).mkdir(parents=True)
    for name in ("python", "sql"):
        (tmp_path / f"pygments/lexers/{name}.py").touch()
    spared(tmp_path)
    assert sorted(one.name for one in tmp_path.iterdir()) == ["pygments", "twin"]
    assert [one.name for one in (tmp_path / "pygments/lexers").iterdir()] == ["python.py"]
    assert [is_spared(Path(f"{name}-9.2.0-py3-none-any.whl")) for name in ("pytest", "pydantic")] == [True, False]


def test_the_bill_of_materials_names_every_package_and_wheel(tmp_path: Path) -> None:
    status = tmp_path / "var/lib/dpkg/status"
    status.parent.mkdir(parents=True)
    status.write_text(
        "Package: adduser\nStatus: ok\nVersion: 3.134+deb12u1\n more\n\nPackage: zstd\nVersion: 1:1.5~x\n"
    )
    found = components_of(tmp_path, [Path("pydantic_core-2.50.4-cp311-cp311-manylinux_2_17_x86_64.whl")])
    assert [(one.kind, one.name) for one in found] == [("deb", "adduser"), ("deb", "zstd"), ("pypi", "pydantic-core")]
    made = json.loads(sbom(SPEC, found))
    assert made["bomFormat"] == "CycloneDX"
    assert "pkg:deb/debian/adduser@3.134%2Bdeb12u1" in {one["purl"] for one in made["components"]}
    assert sbom(SPEC, found) == sbom(SPEC, found)
    assert sbom(SPEC, found[:1]) != sbom(SPEC, found)
    assert Component(kind="pypi", name="a", version="1").purl == "pkg:pypi/a@1"


@pytest.mark.parametrize("name", ["beaglebone-black", "raspberry-pi-4"])
def test_a_board_that_cannot_be_built_says_why_and_leaves_nothing(tmp_path: Path, name: str) -> None:
    with pytest.raises(BuildFailed, match=r"armhf|is not built from packages|made of its vendor"):
        build(board(name), "1", Workshop(tmp_path, tmp_path / "cache", tmp_path / "out", 0), lambda *_: None)
    assert list(tmp_path.iterdir()) == []


def test_an_architecture_is_run_by_the_machine_itself_or_by_an_emulator_that_its_kernel_knows(tmp_path: Path) -> None:
    assert can_run({"x86_64": "amd64", "aarch64": "arm64"}.get(platform.machine(), platform.machine()), tmp_path)
    assert not can_run("riscv64", tmp_path)
    known = tmp_path / "sys/fs/binfmt_misc/qemu-riscv64"
    known.parent.mkdir(parents=True)
    known.touch()
    assert can_run("riscv64", tmp_path)


def test_what_makes_the_boot_partition_is_not_in_the_system() -> None:
    spec = replace(SPEC, board=board("qemu-arm64"))
    assert spec.loader_packages == ("grub-efi-arm64-bin",)
    assert not set(spec.loader_packages) & set(spec.packages)


def test_only_a_board_with_bluetooth_has_its_daemon_and_keeps_bonds_on_data() -> None:
    assert "bluez" in replace(SPEC, board=board("industrial-x86")).packages
    assert "bluez" not in SPEC.packages
    assert "/data/bluetooth /var/lib/bluetooth none bind" in text_of("etc/fstab")
    assert "bluetooth" not in text_of("etc/fstab", SPEC.board.name)
    hook = "etc/initramfs-tools/scripts/init-bottom/edgetwin"
    assert "/data/bluetooth" in text_of(hook)
    assert "bluetooth" not in text_of(hook, SPEC.board.name)


def test_a_watchdogs_driver_is_loaded_before_systemd_asks_for_it_and_gpio_chips_are_the_gateways() -> None:
    assert text_of("etc/initramfs-tools/modules").splitlines() == list(board("industrial-x86").modules)
    assert 'KERNEL=="gpiochip*", GROUP="edgetwin"' in text_of("etc/udev/rules.d/70-edgetwin.rules", "qemu-arm64")


def test_two_roots_and_one_data_partition_are_in_the_order_of_the_disk() -> None:
    roles = [one.role for one in SPEC.board.partitions]
    assert roles == [PartitionRole.BOOT, PartitionRole.ROOT, PartitionRole.ROOT, PartitionRole.DATA]


def wheel(folder: Path, name: str, module: str) -> None:
    """A wheel with one module."""
    folder.mkdir(parents=True, exist_ok=True)
    about = f"{name}-1.0.dist-info"
    with zipfile.ZipFile(folder / f"{name}-1.0-py3-none-any.whl", "w") as made:
        made.writestr(f"{name}/__init__.py", module)
        made.writestr(f"{about}/METADATA", f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n")
        made.writestr(f"{about}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        made.writestr(f"{about}/RECORD", "")


def test_libraries_of_others_are_laid_out_once_and_our_own_each_time(tmp_path: Path) -> None:
    house, cache = tmp_path / "house", tmp_path / "cache"
    cache.mkdir()
    wheel(house, "other", "a = 1\n")
    wheel(house, "pytest", "b = 1\n")
    for turn in (1, 2):
        wheel(house / "own", "ours", f"turn = {turn}\n")
        place = tmp_path / f"root-{turn}/opt/lib"
        lay_out_sparingly(Tools(tmp_path / "log", 0), house, "amd64", place, cache)
        assert sorted(one.name for one in place.iterdir()) == [
            "other",
            "other-1.0.dist-info",
            "ours",
            "ours-1.0.dist-info",
        ]
        assert (place / "ours/__init__.py").read_text() == f"turn = {turn}\n"
        assert all(list((place / name / "__pycache__").glob("*.pyc")) for name in ("other", "ours"))
        (kept,) = cache.iterdir()
        (kept / "other/mark").touch()
    assert (place / "other/mark").exists()  # of the first time
    wheel(house, "other", "a = 2\n")
    lay_out_sparingly(Tools(tmp_path / "log", 0), house, "amd64", tmp_path / "root-3/opt/lib", cache)
    assert (tmp_path / "root-3/opt/lib/other/__init__.py").read_text() == "a = 2\n"
    assert len(list(cache.iterdir())) == 2


def test_a_second_build_with_the_same_cache_waits_for_the_first_and_says_so(tmp_path: Path) -> None:
    """Each makes the wheel of our own anew, and would take it from under the other."""
    first = Workshop(tmp_path, tmp_path / "cache", tmp_path / "first", 0)
    second = replace(first, out=tmp_path / "second")
    said: queue.SimpleQueue[str] = queue.SimpleQueue()

    def build_second() -> None:
        with second.taken("board", lambda step, _: said.put(step)):
            said.put("builds")

    with ThreadPoolExecutor(1) as executor:
        with first.taken("board", lambda step, _: said.put(f"first: {step}")):
            building = executor.submit(build_second)
            assert said.get(timeout=10) == "waiting for another build"
            assert said.empty()
        building.result(timeout=10)
    assert said.get(timeout=10) == "builds"
