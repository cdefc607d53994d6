"""`python -m tests.bench.run [--long] [NAME]`: measures the figures, prints them, and keeps docs/benchmarks.md."""

from __future__ import annotations

import argparse
import asyncio
import logging
import sys
import time
from pathlib import Path
from typing import Final

from tests.bench import (
    ble_notifications,
    cli,
    cloud_cost,
    cloud_ingest,
    cloud_query,
    cloud_revoke,
    cloud_schedule,
    dashboard,
    gateway,
    hardware_flash,
    hardware_image,
    hardware_vm,
    hardware_writes,
    kube_writes,
    mapper_host,
    mesh_blackhole,
    mesh_dns,
    mesh_hotplug,
    mesh_http,
    mesh_l4,
    mesh_memory,
    mesh_nft,
    mesh_storm,
    mesh_transfer,
    mesh_weights,
    modbus_dead_slave,
    modbus_plan,
    modbus_polls,
    modbus_values,
    modbus_write,
    opcua_notifications,
    pods,
    pods_podman,
    sync_desired,
    sync_fencing,
    sync_herd,
    sync_lost,
    sync_resync,
    sync_week,
    twin_dialects,
    twin_engine,
    twin_history,
    twin_mqtt,
    twin_order,
    twin_query,
    twin_recovery,
    twin_set,
)
from tests.bench.figure import Bench, Figure, Scale
from tests.bench.page import Page
from tests.bench.rig import scratch

log = logging.getLogger(__name__)

BENCHES: Final = (
    Bench("twin.group_commit", twin_engine.group_commit),
    Bench("twin.engine", twin_engine.engine),
    Bench("twin.mqtt", twin_mqtt.throughput, long=True),
    Bench("twin.mqtt_history", twin_history.throughput, long=True),
    Bench("twin.latency", twin_mqtt.latency),
    Bench("twin.order", twin_order.order),
    Bench("twin.query", twin_query.queries),
    Bench("twin.recovery", twin_recovery.recovery),
    Bench("twin.set", twin_set.round_trip),
    Bench("twin.dialects", twin_dialects.dialects),
    Bench("modbus.values", modbus_values.values),
    Bench("modbus.values_full", modbus_values.values_full),
    Bench("modbus.cpu", modbus_values.cpu),
    Bench("modbus.plan", modbus_plan.plan),
    Bench("modbus.write", modbus_write.write),
    Bench("modbus.dead_slave", modbus_dead_slave.dead_slave),
    Bench("modbus.polls", modbus_polls.polls),
    Bench("opcua.notifications", opcua_notifications.notifications),
    Bench("ble.notifications", ble_notifications.notifications),
    Bench("pods", pods.figures),
    Bench("pods.start.podman", pods_podman.figures),
    Bench("mappers.memory", mapper_host.memory),
    Bench("mappers.start", mapper_host.start),
    Bench("gateway.restart", gateway.restart),
    Bench("gateway.memory", gateway.memory, long=True),
    Bench("dashboard.load", dashboard.load),
    Bench("hardware.verify", hardware_flash.verify),
    Bench("hardware.build", hardware_image.figures, long=True),
    Bench("hardware.power_on", hardware_vm.power_on, long=True),
    Bench("hardware.rollback", hardware_vm.rollback, long=True),
    Bench("hardware.power_cut", hardware_vm.power_cut, long=True),
    Bench("hardware.writes.commit", hardware_writes.commit),
    Bench("hardware.writes", hardware_writes.day, long=True),
    Bench("hardware.wrong_disk", hardware_flash.wrong_disk),
    Bench("cli.help", cli.overview),
    Bench("sync.resync", sync_resync.resync, long=True),
    Bench("sync.desired", sync_desired.desired),
    Bench("sync.week", sync_week.week),
    Bench("sync.herd", sync_herd.herd),
    Bench("sync.lost", sync_lost.lost),
    Bench("sync.fencing", sync_fencing.fencing),
    Bench("cloud.query", cloud_query.queries),
    Bench("cloud.schedule", cloud_schedule.figures),
    Bench("cloud.revoke", cloud_revoke.revocation),
    Bench("cloud.cost", cloud_cost.cost, long=True),
    Bench("cloud.ingest", cloud_ingest.ingest),
    Bench("mesh.blackhole", mesh_blackhole.figures),
    Bench("mesh.bulk", mesh_l4.bulk),
    Bench("mesh.dns", mesh_dns.figures),
    Bench("mesh.hotplug", mesh_hotplug.figures),
    Bench("mesh.http", mesh_http.requests),
    Bench("mesh.l4", mesh_l4.small_requests),
    Bench("mesh.memory", mesh_memory.memory),
    Bench("mesh.nft", mesh_nft.figures),
    Bench("mesh.nft.many", mesh_nft.among_many),
    Bench("mesh.storm", mesh_storm.figures),
    Bench("mesh.transfer", mesh_transfer.figures),
    Bench("mesh.weights", mesh_weights.figures),
    Bench("kube.writes", kube_writes.writes, long=True),
)
PAGE: Final = Path(__file__).parents[2] / "docs" / "benchmarks.md"


def main() -> int:
    """Run what was asked for; 1 if a run failed, 0 also when a figure is short."""
    parser = argparse.ArgumentParser(prog="tests.bench.run", description=__doc__)
    parser.add_argument("name", nargs="?", help="a figure, such as twin.mqtt")
    parser.add_argument("--long", action="store_true", help="the runs that take more than a minute")
    asked = parser.parse_args()
    chosen = [bench for bench in BENCHES if _wanted(bench, asked.name, long=asked.long)]
    if not chosen:
        parser.error(f"no figure {asked.name!r}; there are {', '.join(bench.name for bench in BENCHES)}")
    logging.basicConfig(level=logging.WARNING, format="%(levelname)s %(name)s: %(message)s")
    page = Page.read(PAGE)
    failed = 0
    for bench in chosen:
        began_s = time.monotonic()
        try:
            figures = _measure(bench, long=asked.long)
        except Exception:
            log.exception("%s was not measured", bench.name)
            failed = 1
            continue
        page.put(figures)
        page.write(PAGE)
        for figure in figures:
            sys.stdout.write(figure.line + "\n")
        sys.stdout.flush()
        log.info("%s took %.0f s", bench.name, time.monotonic() - began_s)
    return failed


def _measure(bench: Bench, *, long: bool) -> list[Figure]:
    with scratch() as folder:
        return asyncio.run(bench.measure(Scale(folder, long)))


def _wanted(bench: Bench, name: str | None, *, long: bool) -> bool:
    if name is not None and bench.name != name and not name.startswith(bench.name + "."):
        return False
    return bench.long or not long


if __name__ == "__main__":
    sys.exit(main())
