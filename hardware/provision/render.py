"""What a provisioning file means as files of the machine. Pure: no file is read or written here."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Final

import yaml

from hardware.provision.file import Interface, Provisioning, Wifi

OURS: Final = "# Written by edgetwin's provisioning; changed there, not here."
NETWORK_PREFIX: Final = "10-edgetwin-"


_AGAIN: Final = f"""{OURS}
[Unit]
StartLimitIntervalSec=0

[Service]
Restart=always
RestartSec=5

[Install]
WantedBy=sys-subsystem-net-devices-%i.device
"""
"""A radio may come late, or go and come again: Debian's unit then ends for good, and nothing starts it again."""


@dataclass(frozen=True, slots=True)
class MachineFile:
    """A file that the machine should have."""

    path: PurePosixPath
    text: str
    secret: bool = False


def identity_files(said: Provisioning) -> Iterator[MachineFile]:
    """The name of the machine; a dot would make it a domain."""
    yield MachineFile(PurePosixPath("/etc/hostname"), said.gateway.name.partition(".")[0] + "\n")


def network_files(said: Provisioning) -> Iterator[MachineFile]:
    """For systemd-networkd, and for wpa_supplicant where there is a wireless network (systemd.network(5))."""
    folder = PurePosixPath("/etc/systemd/network")
    for number, one in enumerate(said.network, 1):
        yield MachineFile(folder / f"{NETWORK_PREFIX}{number}.network", _network(one))
        if one.wifi is not None and one.name is not None:
            path = PurePosixPath(f"/etc/wpa_supplicant/wpa_supplicant-{one.name}.conf")
            yield MachineFile(path, _wpa(one.wifi), secret=True)
            yield MachineFile(PurePosixPath(f"/etc/systemd/system/{radio_unit(one.name)}.d/edgetwin.conf"), _AGAIN)


def radio_unit(interface: str) -> str:
    """The unit that keeps a wireless interface in its network."""
    return f"wpa_supplicant@{interface}.service"


def time_files(said: Provisioning) -> Iterator[MachineFile]:
    """For systemd-timesyncd (timesyncd.conf(5))."""
    if said.time is not None:
        text = f"{OURS}\n[Time]\nNTP={' '.join(said.time.servers)}\nFallbackNTP=\n"
        yield MachineFile(PurePosixPath("/etc/systemd/timesyncd.conf.d/edgetwin.conf"), text)
        yield MachineFile(PurePosixPath("/etc/timezone"), said.time.zone + "\n")


def settings_files(said: Provisioning) -> Iterator[MachineFile]:
    """The gateway's own settings."""
    tree = {"gateway": {"name": said.gateway.name}, **said.settings}
    text = yaml.safe_dump(tree, sort_keys=False, allow_unicode=True, default_flow_style=False)
    yield MachineFile(PurePosixPath("/etc/edgetwin/edgetwin.yaml"), f"{OURS}\n{text}", secret=True)


def _network(one: Interface) -> str:
    lines = [OURS, "[Match]", f"Name={one.name}" if one.name else f"MACAddress={one.mac}", "", "[Network]"]
    lines += [f"Address={address}" for address in one.addresses] or ["DHCP=yes"]
    if one.gateway:
        lines.append(f"Gateway={one.gateway}")
    lines += [f"DNS={server}" for server in one.dns]
    return "\n".join(lines) + "\n"


def _wpa(wifi: Wifi) -> str:
    password = wifi.password.get_secret_value()
    key = f'    psk="{password}"' if password else "    key_mgmt=NONE"
    # The name as hexadecimal digits: whatever is in it stays a name.
    network = ["network={", f"    ssid={wifi.ssid.encode().hex()}", "    scan_ssid=1", key, "}"]
    return "\n".join([OURS, f"country={wifi.country}", "ctrl_interface=/run/wpa_supplicant", *network]) + "\n"
