"""The doctor on machines made of files: what it sees, what it says, and that a well machine gets no blame."""

from __future__ import annotations

import json
import os
import pty
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from hardware.board import Rs485
from hardware.boards import board
from hardware.doctor.ask import AskKernel, ChipName
from hardware.doctor.checks import DAY_S, Level, findings
from hardware.doctor.facts import Facts, PortUse, gather
from hardware.doctor.inventory import Inventory, SerialPort, Watchdog, Wear, take

WELL = Facts(
    now_s=1_800_000_000.0,
    made_s=1_700_000_000.0,
    free_bytes=2**32,
    total_bytes=2**33,
    certificate_ends_s=1_800_000_000.0 + 90 * DAY_S,
    hub_status_age_s=2.0,
    broker="127.0.0.1:1883 (up)",
    cloud="live",
    alarms=(),
    ports=(PortUse("line", "/dev/serial/by-id/usb-FTDI_A1"),),
)
FTDI = SerialPort("/dev/ttyUSB0", "/dev/serial/by-id/usb-FTDI_A1", "FTDI")
MACHINE = Inventory(
    serial=(FTDI, SerialPort("/dev/ttyS0", "/dev/ttyS0", rs485=Rs485.NONE)),
    gpio=(),
    bluetooth=("hci0",),
    watchdogs=(Watchdog("/dev/watchdog0", "iTCO_wdt", 30, 600, active=True),),
    clocks=("rtc_cmos",),
    wear=(Wear("/dev/mmcblk0", 20, "normal"),),
    synchronized=True,
)


class Devices:
    def rs485(self, node: Path) -> Rs485 | None:
        return {"ttyAMA1": Rs485.KERNEL, "ttyS0": Rs485.NONE}.get(node.name)

    def chip(self, node: Path) -> ChipName | None:
        return ChipName("pinctrl-bcm2711", 58) if node.name == "gpiochip0" else None


def put(root: Path, files: dict[str, str]) -> None:
    for name, text in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text + "\n")


def link(root: Path, name: str, to: str) -> None:
    path = root / name
    path.parent.mkdir(parents=True, exist_ok=True)
    (root / to).parent.mkdir(parents=True, exist_ok=True)
    path.symlink_to(root / to)


@pytest.fixture
def raspberry(tmp_path: Path) -> Path:
    usb = "sys/devices/usb1/1-1"
    put(
        tmp_path,
        {
            **{
                f"dev/{name}": ""
                for name in ("ttyUSB0", "ttyUSB1", "ttyAMA1", "ttyS0", "ttyS1", "gpiochip0", "gpiochip1")
            },
            f"{usb}/manufacturer": "FTDI",
            f"{usb}/product": "USB-RS485 Cable",
            f"{usb}/1-1:1.0/ttyUSB0/uevent": "",
            "sys/devices/usb1/1-2/1-2:1.0/ttyUSB1/uevent": "",
            "sys/devices/platform/uart1/uevent": "",
            "sys/class/tty/tty0/uevent": "",
            "sys/class/tty/ttyS1/type": "0",
            "sys/class/tty/ttyS0/type": "4",
            "sys/class/watchdog/watchdog0/identity": "Broadcom BCM2835 Watchdog timer",
            "sys/class/watchdog/watchdog0/timeout": "60",
            "sys/class/watchdog/watchdog0/state": "active",
            "sys/class/block/mmcblk0/device/life_time": "0x02 0x0a",
            "sys/class/block/mmcblk0/device/pre_eol_info": "0x02",
            "sys/class/block/sda/size": "1",
        },
    )
    link(tmp_path, "sys/class/tty/ttyUSB0/device", f"{usb}/1-1:1.0/ttyUSB0")
    link(tmp_path, "sys/class/tty/ttyUSB1/device", "sys/devices/usb1/1-2/1-2:1.0/ttyUSB1")
    for name in ("ttyAMA1", "ttyS0", "ttyS1"):
        link(tmp_path, f"sys/class/tty/{name}/device", "sys/devices/platform/uart1")
    for name in ("gpiochip0", "gpiochip1"):
        (tmp_path / "sys/bus/gpio/devices" / name).mkdir(parents=True)
    (tmp_path / "sys/class/bluetooth/hci0").mkdir(parents=True)
    (tmp_path / "sys/class/bluetooth/hci0:11").mkdir(parents=True)
    link(tmp_path, "dev/serial/by-id/usb-FTDI_USB-RS485_A1-if00-port0", "dev/ttyUSB0")
    link(tmp_path, "dev/serial/by-path/platform-usb-0:1:1.0-port0", "dev/ttyUSB0")
    link(tmp_path, "dev/gateway/rs485-1", "dev/ttyAMA1")
    return tmp_path


def test_a_machine_is_seen_by_its_stable_names(raspberry: Path) -> None:
    seen = take(raspberry, Devices())
    by_device = {one.device: one for one in seen.serial}
    assert set(by_device) == {"/dev/ttyUSB0", "/dev/ttyUSB1", "/dev/ttyAMA1", "/dev/ttyS0"}
    ftdi = by_device["/dev/ttyUSB0"]
    assert ftdi.stable == "/dev/serial/by-id/usb-FTDI_USB-RS485_A1-if00-port0"
    assert ftdi.description == "FTDI USB-RS485 Cable"
    assert by_device["/dev/ttyUSB1"].stable == ""
    assert by_device["/dev/ttyAMA1"].stable == "/dev/gateway/rs485-1"
    assert by_device["/dev/ttyAMA1"].rs485 is Rs485.KERNEL
    assert by_device["/dev/ttyS0"].rs485 is Rs485.NONE
    assert [(one.device, one.label, one.lines) for one in seen.gpio] == [
        ("/dev/gpiochip0", "pinctrl-bcm2711", 58),
        ("/dev/gpiochip1", "", 0),
    ]
    assert seen.bluetooth == ("hci0",)
    assert seen.wear == (Wear("/dev/mmcblk0", 100, "warning"),)
    assert not seen.synchronized


def test_an_empty_machine_has_nothing_and_breaks_nothing(tmp_path: Path) -> None:
    assert take(tmp_path, Devices()) == Inventory((), (), (), (), (), (), synchronized=False)


def test_a_well_machine_gets_no_blame() -> None:
    assert {one.level for one in findings(MACHINE, WELL)} == {Level.OK}


@pytest.mark.parametrize(
    ("machine", "facts", "code", "level"),
    [
        (MACHINE, replace(WELL, now_s=1000.0), "clock_past", Level.ERROR),
        (replace(MACHINE, synchronized=False, clocks=()), WELL, "clock_unset", Level.WARNING),
        (MACHINE, replace(WELL, free_bytes=2**20), "disk_full", Level.ERROR),
        (MACHINE, replace(WELL, free_bytes=2**29), "disk_low", Level.WARNING),
        (replace(MACHINE, wear=(Wear("/dev/mmcblk0", 80, ""),)), WELL, "storage_worn", Level.WARNING),
        (replace(MACHINE, wear=(Wear("/dev/mmcblk0", 10, "urgent"),)), WELL, "storage_worn", Level.ERROR),
        (MACHINE, replace(WELL, certificate_ends_s=0.0), "keys_unreadable", Level.ERROR),
        (MACHINE, replace(WELL, certificate_ends_s=WELL.now_s - 1), "certificate_over", Level.ERROR),
        (MACHINE, replace(WELL, certificate_ends_s=WELL.now_s + 3 * DAY_S), "certificate_ends", Level.WARNING),
        (MACHINE, replace(WELL, hub_status_age_s=None), "hub_never", Level.ERROR),
        (MACHINE, replace(WELL, hub_status_age_s=60.0), "hub_silent", Level.ERROR),
        (MACHINE, replace(WELL, broker="127.0.0.1:1883 (down)"), "broker_down", Level.ERROR),
        (MACHINE, replace(WELL, cloud="offline"), "cloud_away", Level.WARNING),
        (MACHINE, replace(WELL, alarms=("the disk is slow",)), "alarm", Level.WARNING),
        (MACHINE, replace(WELL, ports=(PortUse("line", "/dev/ttyUSB7"),)), "port_missing", Level.ERROR),
        (MACHINE, replace(WELL, ports=(PortUse("line", "/dev/ttyUSB0"),)), "port_unstable", Level.WARNING),
        (replace(MACHINE, serial=(replace(FTDI, readable=False),)), WELL, "port_denied", Level.ERROR),
        (
            replace(MACHINE, watchdogs=(Watchdog("/dev/watchdog0", "x", 60, 15, active=True),)),
            WELL,
            "watchdog_inert",
            Level.ERROR,
        ),
        (
            replace(MACHINE, watchdogs=(Watchdog("/dev/watchdog0", "x", 10, 15, active=False),)),
            WELL,
            "watchdog_off",
            Level.WARNING,
        ),
    ],
)
def test_each_trouble_is_found_with_its_remedy_and_nothing_else_is(machine, facts, code, level) -> None:
    blamed = [one for one in findings(machine, facts) if one.level is not Level.OK]
    assert [(one.code, one.level) for one in blamed] == [(code, level)]
    assert blamed[0].seen
    assert blamed[0].remedy


def test_the_remedy_for_a_port_that_swaps_is_the_line_to_write() -> None:
    (found,) = (
        one
        for one in findings(MACHINE, replace(WELL, ports=(PortUse("line", "/dev/ttyUSB0"),)))
        if one.code == "port_unstable"
    )
    assert found.remedy == "Write serialPort: /dev/serial/by-id/usb-FTDI_A1"


def test_what_a_profile_promises_and_the_machine_lacks_is_told(raspberry: Path) -> None:
    pi = board("raspberry-pi-4")
    codes = {one.code for one in findings(take(raspberry, Devices()), WELL, pi)}
    assert "gpio_missing" not in codes
    assert "watchdog_inert" in codes  # 60 s is more than the 15 s of the board
    assert "profile_port_missing" in codes
    other = {one.code for one in findings(replace(MACHINE, watchdogs=(), bluetooth=()), WELL, pi)}
    assert {"gpio_missing", "bluetooth_missing", "watchdog_missing"} <= other


def test_one_watchdog_in_use_is_enough() -> None:
    idle = Watchdog("/dev/watchdog1", "iTCO_wdt", 30, 600, active=False)
    found = findings(replace(MACHINE, watchdogs=(*MACHINE.watchdogs, idle)), WELL)
    assert [one.code for one in found if one.code.startswith("watchdog")] == ["watchdog"]


def test_an_rs485_port_whose_driver_does_not_switch_is_told() -> None:
    revolution = board("revolution-pi-connect-4")
    for rs485, told in ((Rs485.NONE, True), (Rs485.KERNEL, False), (None, True)):
        port = SerialPort("/dev/ttyAMA5", "/dev/gateway/rs485-1", rs485=rs485)
        codes = {one.code for one in findings(replace(MACHINE, serial=(port, FTDI)), WELL, revolution)}
        assert ("rs485_off" in codes) is told


def test_a_pattern_or_a_port_of_another_machine_is_no_missing_port() -> None:
    for port in ("*", "/dev/ttyUSB*", "tcp:10.0.0.1:4000"):
        assert {one.level for one in findings(MACHINE, replace(WELL, ports=(PortUse("line", port),)))} == {Level.OK}


def test_ports_are_read_from_the_registry_while_a_hub_holds_it(tmp_path: Path) -> None:
    from edgehub.documents import open_documents
    from twin.wire.api import ApplyRequest, DocumentSource

    text = """apiVersion: edgetwin.dev/v1
kind: Connection
metadata: {name: line}
spec: {mapper: modbus, config: {transport: rtu, serialPort: /dev/ttyUSB0}}
"""
    with open_documents(tmp_path / "registry.json", "gw-1") as documents:
        documents.apply(ApplyRequest(sources=[DocumentSource(name="line.yaml", text=text)]))
        assert gather(tmp_path, 0.0).ports == (PortUse("line", "/dev/ttyUSB0"),)


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b'{"tables": 5}', b'{"tables": {"a": {"1": 5}}}'])
def test_a_registry_that_cannot_be_read_is_no_end_of_the_doctor(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "registry.json").write_bytes(content)
    assert gather(tmp_path, 0.0).ports == ()


def test_a_real_terminal_is_asked_and_knows_no_rs485(tmp_path: Path) -> None:
    leader, follower = pty.openpty()
    try:
        assert AskKernel().rs485(Path(os.ttyname(follower))) is None
    finally:
        os.close(leader)
        os.close(follower)
    assert AskKernel().rs485(tmp_path / "none") is None
    assert AskKernel().chip(Path("/dev/null")) is None


def test_the_command_tells_codes_and_ends_with_what_it_found(tmp_path: Path) -> None:
    line = [sys.executable, "-c", "from edgehub.cli import main; main()", "hardware", "doctor", "--json"]
    environment = {**os.environ, "EDGETWIN_STATE": str(tmp_path / "none")}
    done = subprocess.run(line, env=environment, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 1
    codes = {one["code"] for one in json.loads(done.stdout)["findings"]}
    assert "hub_never" in codes
    unknown = subprocess.run([*line, "--board", "toaster"], capture_output=True, text=True, timeout=60, check=False)
    assert unknown.returncode == 4
    assert "there is no board toaster" in unknown.stderr
