"""What is wrong with a machine as a gateway, and what to do about it. Pure: inventory and facts in, findings out."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from hardware.board import BoardProfile, Rs485, SerialRole
from hardware.doctor.facts import Facts
from hardware.doctor.inventory import Inventory

DAY_S: Final = 86_400
FREE_LEAST_BYTES: Final = 64 * 2**20
FREE_LOW_PERCENT: Final = 10
HUB_OLD_S: Final = 20.0
WORN_PERCENT: Final = 80
SWAPPING: Final = ("/dev/ttyUSB", "/dev/ttyACM")


class Level(StrEnum):
    """How bad a finding is."""

    OK = "ok"
    WARNING = "warning"
    ERROR = "error"


@dataclass(frozen=True, slots=True)
class Finding:
    """One finding. ``code`` is for programs and stays the same over releases."""

    code: str
    level: Level
    seen: str
    remedy: str = ""


def findings(inventory: Inventory, facts: Facts, board: BoardProfile | None = None) -> tuple[Finding, ...]:
    """Every check, in the order in which one would mend things."""
    return (
        *_clock(inventory, facts),
        *_storage(inventory, facts),
        *_certificate(facts),
        *_hub(facts),
        *_ports(inventory, facts),
        *_watchdog(inventory, board),
        *_board(inventory, board),
    )


def _clock(inventory: Inventory, facts: Facts) -> Iterator[Finding]:
    if facts.now_s < facts.made_s:
        remedy = "Set it, or let a time server: certificates are not good yet, and times of readings are wrong."
        yield Finding("clock_past", Level.ERROR, "the clock is before the day this program was made", remedy)
    elif not inventory.synchronized and not inventory.clocks:
        remedy = "Give time servers in the provisioning file, or fit a clock with a battery."
        yield Finding(
            "clock_unset", Level.WARNING, "no time server was reached, and there is no clock of its own", remedy
        )
    else:
        how = "by a time server" if inventory.synchronized else f"by {inventory.clocks[0]}"
        yield Finding("clock", Level.OK, f"the clock is set {how}")


def _storage(inventory: Inventory, facts: Facts) -> Iterator[Finding]:
    percent = 100 * facts.free_bytes / max(facts.total_bytes, 1)
    seen = f"{facts.free_bytes // 2**20} MiB free, {percent:.0f} %"
    if facts.free_bytes < FREE_LEAST_BYTES:
        yield Finding("disk_full", Level.ERROR, seen, "Remove what is not needed: without room nothing can be stored.")
    elif percent < FREE_LOW_PERCENT:
        yield Finding("disk_low", Level.WARNING, seen, "Shorten histories (history.max_bytes), or use a larger disk.")
    else:
        yield Finding("disk", Level.OK, seen)
    for one in inventory.wear:
        seen = f"{one.device} has used about {one.used_percent} % of its life"
        if one.used_percent >= WORN_PERCENT or one.end_of_life in ("warning", "urgent"):
            level = Level.ERROR if one.end_of_life == "urgent" or one.used_percent > 100 else Level.WARNING
            yield Finding("storage_worn", level, seen, "Plan to replace it; longer commit intervals wear it less.")
        else:
            yield Finding("storage_wear", Level.OK, seen)


def _certificate(facts: Facts) -> Iterator[Finding]:
    if facts.certificate_ends_s is None:
        return
    left_days = (facts.certificate_ends_s - facts.now_s) / DAY_S
    if facts.certificate_ends_s <= 0:
        yield Finding(
            "keys_unreadable",
            Level.ERROR,
            "the gateway's keys cannot be read",
            "Join again: edgetwin join TOKEN --again",
        )
    elif left_days <= 0:
        yield Finding(
            "certificate_over", Level.ERROR, "the certificate is over", "Join again: edgetwin join TOKEN --again"
        )
    elif left_days < 7:
        seen = f"the certificate is good for {left_days:.0f} days more"
        yield Finding(
            "certificate_ends", Level.WARNING, seen, "The hub renews it when the cloud is reached; see that it is."
        )
    else:
        yield Finding("certificate", Level.OK, f"the certificate is good for {left_days:.0f} days")


def _hub(facts: Facts) -> Iterator[Finding]:
    if facts.hub_status_age_s is None:
        yield Finding("hub_never", Level.ERROR, "no hub has run here", "Start it: edgetwin run")
        return
    if facts.hub_status_age_s > HUB_OLD_S:
        seen = f"the hub gave its last sign of life {facts.hub_status_age_s:.0f} s ago"
        yield Finding("hub_silent", Level.ERROR, seen, "Look why it ended: journalctl -u edgetwin; edgetwin status")
        return
    yield Finding("hub", Level.OK, "the hub runs")
    up = facts.broker.endswith("(up)")
    remedy = "" if up else "edgetwin status says why; the hub starts it again by itself."
    yield Finding("broker" if up else "broker_down", Level.OK if up else Level.ERROR, f"broker {facts.broker}", remedy)
    if facts.cloud and facts.cloud != "off":
        live = facts.cloud == "live"
        remedy = "" if live else "The gateway works without it. edgetwin status says what keeps it away."
        seen = f"the line to the cloud is {facts.cloud}"
        yield Finding("cloud" if live else "cloud_away", Level.OK if live else Level.WARNING, seen, remedy)
    for alarm in facts.alarms:
        yield Finding("alarm", Level.WARNING, alarm, "edgetwin status shows all alarms.")


def _ports(inventory: Inventory, facts: Facts) -> Iterator[Finding]:
    by_device = {one.device: one for one in inventory.serial}
    names = {one.stable: one for one in inventory.serial if one.stable} | by_device
    for use in facts.ports:
        if any(mark in use.port for mark in "*?[:"):
            continue  # a pattern, or a port of another machine
        port = names.get(use.port)
        if port is None:
            remedy = "Plug it in; ports here: " + (
                ", ".join(sorted(one.stable or one.device for one in inventory.serial)) or "none"
            )
            yield Finding("port_missing", Level.ERROR, f"connection {use.connection}: {use.port} is not there", remedy)
            continue
        if not port.readable:
            remedy = "Put the gateway's user into the group dialout."
            yield Finding(
                "port_denied", Level.ERROR, f"connection {use.connection}: {use.port} may not be opened", remedy
            )
        if use.port.startswith(SWAPPING):
            remedy = (
                f"Write serialPort: {port.stable}"
                if port.stable
                else "Its adapter has no serial number: use its place, in /dev/serial/by-path."
            )
            seen = f"connection {use.connection}: {use.port} may be another port after a restart"
            yield Finding("port_unstable", Level.WARNING, seen, remedy)
        else:
            yield Finding("port", Level.OK, f"connection {use.connection}: {use.port}")


def _watchdog(inventory: Inventory, board: BoardProfile | None) -> Iterator[Finding]:
    for one in inventory.watchdogs:
        limit = one.max_s or (board.watchdog.max_s if board and board.watchdog else 0)
        if limit and one.timeout_s > limit:
            seen = f"{one.device} ({one.identity}) is set to {one.timeout_s} s and takes {limit} s: there is none"
            yield Finding(
                "watchdog_inert", Level.ERROR, seen, f"Set RuntimeWatchdogSec={limit} in systemd's system.conf."
            )
        elif not one.active and not any(other.active for other in inventory.watchdogs):
            remedy = "Set RuntimeWatchdogSec in systemd's system.conf: a machine that hangs is restarted then."
            yield Finding("watchdog_off", Level.WARNING, f"{one.device} ({one.identity}) is not in use", remedy)
        elif one.active:
            yield Finding("watchdog", Level.OK, f"{one.device} ({one.identity}) restarts after {one.timeout_s} s")


def _board(inventory: Inventory, board: BoardProfile | None) -> Iterator[Finding]:
    """What the profile promises and the machine does not have."""
    if board is None:
        return
    labels = {one.label for one in inventory.gpio}
    for line in board.gpio:
        if line.chip not in labels:
            seen = f"the GPIO chip {line.chip} of the line {line.name} is not there"
            yield Finding("gpio_missing", Level.ERROR, seen, "Is this the board, and its kernel?")
    if board.bluetooth != "none" and not inventory.bluetooth:
        yield Finding(
            "bluetooth_missing", Level.WARNING, "there is no Bluetooth adapter", "Is it switched off (rfkill)?"
        )
    if board.watchdog is not None and not inventory.watchdogs:
        yield Finding(
            "watchdog_missing", Level.ERROR, "there is no watchdog", "Load its module: see the board's profile."
        )
    by_name = {one.stable: one for one in inventory.serial}
    for port in board.serial:
        found = by_name.get(f"/dev/gateway/{port.name}")
        if port.role is SerialRole.CONSOLE:
            continue
        if found is None:
            seen = f"/dev/gateway/{port.name} is not there"
            yield Finding("profile_port_missing", Level.WARNING, seen, "Are the board's udev rules installed?")
        elif port.rs485 is Rs485.KERNEL and found.rs485 is not Rs485.KERNEL:
            seen = f"/dev/gateway/{port.name}: the driver does not switch the direction of RS-485"
            yield Finding(
                "rs485_off",
                Level.ERROR,
                seen,
                "Without it the first bytes of answers are lost; set it in the device tree.",
            )
