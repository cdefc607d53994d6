"""`make scale-demo`: two brokers behind HAProxy, PostgreSQL, two workers and simulated gateways; one broker dies."""

from __future__ import annotations

import argparse
import asyncio
import json
import signal
import sys
import time
from typing import Any, Final

from tests.bench.rig import Child, scratch
from tests.bench.scale_site import ScaleSite, names

WAIT_S: Final = 90.0


def main() -> int:
    """Run it; 1 if the gateways did not all come, or did not come back."""
    parser = argparse.ArgumentParser(prog="make scale-demo", description=__doc__)
    parser.add_argument("--gateways", type=int, default=40)
    count: int = parser.parse_args().gateways
    with scratch() as folder, ScaleSite(folder, shards=2, workers=2, say=say) as site:
        say(f"enrolling {count} gateways, each with a certificate of its own")
        keys = site.gateways(count)
        fleet = site.fleet(names(count), keys, rows=10, period_s=1.0, spread_s=2.0)
        if not wait_until_live(fleet, count):
            return 1
        time.sleep(5.0)
        show(site, told(fleet))
        say("killing the broker of shard 1")
        began_s = time.monotonic()
        site.clouds[0].stop(signal.SIGKILL)
        time.sleep(1.0)
        if not wait_until_live(fleet, count):
            return 1
        say(f"all are live again on shard 2, {time.monotonic() - began_s:.1f} s after")
        time.sleep(5.0)
        show(site, told(fleet))
        say("starting shard 1 again, and shutting one gateway out")
        site.start_shard(site.clouds[0])
        began_s = time.monotonic()
        site.main.run("cloud", "gateway", "revoke", names(1)[0])
        while told(fleet)["live"] == count:
            if time.monotonic() - began_s > WAIT_S:
                return 1
            time.sleep(0.1)
        say(f"{names(1)[0]} is off the line {time.monotonic() - began_s:.1f} s after, command included")
        say("done")
    return 0


def show(site: ScaleSite, now: dict[str, Any]) -> None:
    """One line on the fleet, one on who serves it."""
    say(f"{now['live']} live; ack after the commit: p50 {now['p50_ms']:.0f} ms, p99 {now['p99_ms']:.0f} ms")
    clients = [connections(port) for port in site.shard_ports]
    say("connections: " + ", ".join(f"shard {number} has {one}" for number, one in enumerate(clients, 1)))


def connections(port: int) -> int:
    """How many established connections a local port has, as the kernel tells."""
    with open("/proc/net/tcp", encoding="ascii") as table:  # noqa: PTH123 the kernel's table, not a file of ours
        rows = [line.split() for line in table.readlines()[1:]]
    return sum(row[3] == "01" and int(row[1].rpartition(":")[2], 16) == port for row in rows)


def told(fleet: Child) -> dict[str, Any]:
    """What the fleet has measured since the last time."""
    fleet.tell("")
    found: dict[str, Any] = json.loads(asyncio.run(fleet.line()))
    return found


def wait_until_live(fleet: Child, count: int, timeout_s: float = WAIT_S) -> bool:
    """Wait until all have a session."""
    ends_s = time.monotonic() + timeout_s
    while (now := told(fleet))["live"] < count:
        if time.monotonic() > ends_s:
            say(f"error: only {now['live']} of {count} gateways are live after {timeout_s:.0f} s")
            return False
        time.sleep(0.2)
    return True


def say(text: str) -> None:
    """A line for the person at the terminal."""
    sys.stdout.write(f"==> {text}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
