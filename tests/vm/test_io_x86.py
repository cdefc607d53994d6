"""Tier 3, opt-in (make test-vm-io): a guest with a full kernel, a USB serial port, BlueZ, RS-485 and a watchdog."""

from __future__ import annotations

import asyncio
import importlib.util
import os
import time
from pathlib import Path

import pytest

from hardware.boards import board
from tests.vm.guest import X86_64
from tests.vm.record import proved, seconds
from tests.vm.workbench import SLOW_S, Bench, bench, hub_is_up, image_of

BOARD = board("qemu-x86-64-io")
PROGRAMS = tuple(Path(importlib.util.find_spec(name).submodule_search_locations[0]) for name in ("bumble", "pyee"))
SENSOR = Path(__file__).resolve().parents[1] / "peers/ble_peripheral.py"
pytestmark = [
    pytest.mark.vm_io,
    pytest.mark.timeout(7200),
    pytest.mark.skipif(os.geteuid() != 0, reason="an image is built by root"),
    pytest.mark.skipif(bool(X86_64.missing()), reason=X86_64.missing()),
]
DOCUMENTS = """
apiVersion: edgetwin.dev/v1
kind: DeviceModel
metadata: {name: meter}
spec:
  properties:
    - {name: requests, type: INT}
    - {name: limit, type: INT, accessMode: ReadWrite}
---
apiVersion: edgetwin.dev/v1
kind: Connection
metadata: {name: line}
spec:
  mapper: modbus
  config: {transport: rtu, serialPort: /dev/gateway/meter, baudRate: 19200, timeoutMs: 2000}
---
apiVersion: edgetwin.dev/v1
kind: Device
metadata: {name: meter}
spec:
  deviceModelRef: {name: meter}
  connection: line
  address: {unit: 1}
  properties:
    - {name: requests, collectCycle: 1s, visitors: {configData: {table: input, address: 0, type: uint16}}}
    - {name: limit, collectCycle: 1s, visitors: {configData: {table: holding, address: 0, type: uint16}}}
---
apiVersion: edgetwin.dev/v1
kind: DeviceModel
metadata: {name: sensor}
spec:
  properties:
    - {name: temperature, type: DOUBLE}
    - {name: lamp, type: BOOLEAN, accessMode: ReadWrite}
---
apiVersion: edgetwin.dev/v1
kind: Connection
metadata: {name: radio}
spec: {mapper: ble, config: {adapter: hci0}}
---
apiVersion: edgetwin.dev/v1
kind: Device
metadata: {name: sensor}
spec:
  deviceModelRef: {name: sensor}
  connection: radio
  address: {mac: "C4:7C:8D:6A:12:34"}
  properties:
    - {name: temperature, collectCycle: 2s, visitors: {configData: {characteristic: 2A6E}}}
    - name: lamp
      collectCycle: 2s
      visitors: {configData: {characteristic: f000aa01-0451-4000-b000-000000000000, type: boolean}}
"""
WIFI = {"ssid": "plant", "password": "not-my-password", "country": "DE"}
NETWORK = [{"name": "wlan0", "addresses": ["192.0.2.10/24"], "wifi": WIFI}]
ACCESS_POINT = """network={
    ssid="plant"
    psk="not-my-password"
    key_mgmt=WPA-PSK
    mode=2
    frequency=2412
}
"""
OTHER = """
modprobe libcomposite
mountpoint -q /sys/kernel/config || mount -t configfs configfs /sys/kernel/config
mkdir /sys/kernel/config/usb_gadget/other
cd /sys/kernel/config/usb_gadget/other
echo 0x1d6b >idVendor
echo 0x0104 >idProduct
mkdir strings/0x409 configs/c.1 functions/acm.other
echo another >strings/0x409/product
ln -s functions/acm.other configs/c.1
echo dummy_udc.0 >UDC
"""
"""Another USB port, made of parts: Debian has one such device that is whole."""
PLUG = ("modprobe", "g_serial", "iManufacturer=edgetwin", "iProduct=meter", "iSerialNumber=0001")


async def test_ports_radio_and_watchdog_of_a_full_kernel_are_used_as_those_of_a_board(tmp_path: Path) -> None:
    began_s = time.monotonic()
    image = await asyncio.to_thread(image_of, BOARD, tmp_path)
    proved(BOARD.name, "the image is built, packages from the cache", seconds(began_s))
    more = ("-serial", "null", "-device", "i6300esb")
    programs = (*PROGRAMS, SENSOR)
    async with bench(BOARD, image, tmp_path, X86_64, DOCUMENTS, more=more, programs=programs, network=NETWORK) as made:
        proved(BOARD.name, "power on to the hub's first answer", seconds(made.guest.began_s))
        await _serial_port(made)
        await _bluetooth(made)
        await _wifi(made)
        await _doctor(made)
        await _watchdog(made)


async def _serial_port(made: Bench) -> None:
    await made.lab.run("modprobe", "dummy_hcd", "num=2")
    await made.lab.run(*PLUG)
    await _meter("ttyGS0", made)
    began_s = time.monotonic()
    await made.leaf("meter", "requests", lambda leaf: leaf.get("value", 0) > 1)
    await made.sets("meter", limit=77)
    assert (await made.lab.run("cat", "/run/meter")).out.startswith("77 ")
    links = (await made.lab.run("ls", "/dev/serial/by-id")).out
    assert "usb-edgetwin_meter_0001-if00" in links
    proved(BOARD.name, "Modbus RTU over a USB port by /dev/gateway: read, written, read back", seconds(began_s))

    await made.lab.run("systemctl", "stop", "meter")
    await made.lab.run("modprobe", "-r", "g_serial")
    took_s = await made.leaf("meter", "requests", lambda leaf: leaf.get("reason") == "not_connected")
    proved(BOARD.name, "the port is pulled out: the twin says not_connected", f"{took_s:.0f} s")
    await made.lab.run("sh", "-ec", OTHER)  # it comes first now, and has the number that this one had
    await made.lab.until("ls", "/dev/ttyACM0", so=lambda done: done.rc == 0)
    await made.lab.run(*PLUG)
    await _meter("ttyGS1", made)
    took_s = await made.leaf("meter", "requests", lambda leaf: "value" in leaf and "quality" not in leaf)
    there = (await made.lab.run("readlink", "-f", "/dev/gateway/meter")).out.strip()
    assert there == "/dev/ttyACM1", there
    proved(BOARD.name, "plugged in again behind another port, under another number: good again", f"{took_s:.0f} s")


async def _meter(port: str, made: Bench) -> None:
    await made.lab.until("ls", f"/dev/{port}", "/dev/gateway/meter", so=lambda done: done.rc == 0)
    await made.lab.run("systemd-run", "--unit=meter", "python3", "/run/lab/meter.py", f"/dev/{port}")


async def _bluetooth(made: Bench) -> None:
    await made.lab.run("modprobe", "hci_vhci")
    await made.lab.run("mkfifo", "/run/radio")
    path = "--setenv=PYTHONPATH=/run/lab:/opt/edgetwin/lib"
    program = "exec 3<>/run/radio; exec python3 -u /run/lab/radio.py </run/radio"
    began_s = time.monotonic()
    await made.lab.run("systemd-run", "--unit=radio", path, "sh", "-c", program)
    await made.reads("sensor", temperature=21.5, lamp=False)
    proved(BOARD.name, "BlueZ: an adapter appears, its sensor is found, connected to and read", seconds(began_s))
    await made.sets("sensor", lamp=True)
    said = await made.lab.run("journalctl", "-u", "radio", "--no-pager")
    assert "lamp 01" in said.out, said.out
    await made.lab.run("sh", "-c", "echo 2A6E 5908 >/run/radio")
    took_s = await made.reads("sensor", temperature=21.37)
    proved(BOARD.name, "BlueZ: a characteristic is written, another notifies", f"{took_s:.0f} s")


async def _wifi(made: Bench) -> None:
    began_s = time.monotonic()
    await made.lab.run("modprobe", "mac80211_hwsim", "radios=2")
    await made.lab.run("sh", "-c", "umask 077; cat >/run/plant.conf", stdin=ACCESS_POINT)
    await made.lab.until("ls", "/sys/class/net/wlan1", so=lambda done: done.rc == 0)
    await made.lab.run("wpa_supplicant", "-B", "-i", "wlan1", "-c", "/run/plant.conf")
    await made.lab.until("wpa_cli", "-i", "wlan0", "status", so=lambda done: "wpa_state=COMPLETED" in done.out)
    await made.lab.until("ip", "-4", "address", "show", "wlan0", so=lambda done: "192.0.2.10/24" in done.out)
    proved(
        BOARD.name, "the wireless network of the provisioning file is joined (WPA2), its address set", seconds(began_s)
    )


async def _doctor(made: Bench) -> None:
    levels, inventory = await made.doctor(BOARD.name)
    assert (levels["port"], levels["watchdog"]) == ("ok", "ok"), levels
    assert "watchdog_off" not in levels
    (used,) = (one for one in inventory["watchdogs"] if one["active"])
    assert (used["identity"], used["timeout_s"]) == ("i6300ESB timer", 60)
    assert [code for code, level in levels.items() if level == "error"] == ["rs485_off"], levels
    ports = {one["stable"]: one for one in inventory["serial"]}
    assert ports["/dev/gateway/rs485-1"]["rs485"] == "none"  # the driver of ttyS1 knows the ioctl, and cannot do it
    assert ports["/dev/gateway/meter"]["description"] == "edgetwin meter"
    assert inventory["bluetooth"] == ["hci0"]
    lines = await made.doctor_lines()
    assert {"serialPort: /dev/gateway/meter", "adapter: hci0"} <= set(lines)  # those that stand in the documents above
    proved(BOARD.name, "the doctor: port by name, adapter, watchdog in use, RS-485 that the driver does not switch")


async def _watchdog(made: Bench) -> None:
    made.lab.up.clear()
    began_s = time.monotonic()
    # A kernel that has stopped for good: without the watchdog it would stand so until somebody comes.
    await made.lab.run("sysctl", "-q", "kernel.panic=0")
    hang = asyncio.create_task(made.lab.run("sh", "-c", "echo c >/proc/sysrq-trigger", timeout_s=5, check=False))
    event = await made.machinery.event("WATCHDOG", SLOW_S)
    assert event["data"]["action"] == "reset"
    proved(BOARD.name, "the kernel stops: the watchdog restarts the machine after", seconds(began_s))
    hang.cancel()
    await asyncio.gather(hang, return_exceptions=True)
    async with asyncio.timeout(SLOW_S):
        await made.lab.up.wait()
    await hub_is_up(made)
    proved(BOARD.name, "from the stopped kernel to the hub's answer", seconds(began_s))
