"""A big store after a SIGKILL: how soon it is open, what its leaves take in memory, how quick one update still is."""

from __future__ import annotations

import asyncio
import json
import os
import signal
from statistics import median
from typing import Final

from tests.bench.figure import Figure, Scale
from tests.bench.recovery_site import DEVICES, RATE, Found
from tests.bench.rig import child, module

_KILLS: Final = 3
_FILL_S: Final = 120.0
_WAL_S: Final = 1.0


async def recovery(scale: Scale) -> list[Figure]:
    """Kill a process that writes to 10 000 twins, and start another on its files; three times."""
    path = scale.folder / "recovery.db"
    found: list[Found] = []
    for turn in range(_KILLS):
        with child(module("tests.bench.recovery_site", "fill", str(path))) as writer:
            assert await writer.line(_FILL_S) == "filled"
            await asyncio.sleep(_WAL_S)  # so that it dies in the middle of its commits
            os.kill(writer.pid, signal.SIGKILL)
            writer.process.wait(10.0)
        assert path.with_name(path.name + "-wal").stat().st_size > 0, "nothing to recover from"
        with child(module("tests.bench.recovery_site", "open", str(path))) as opener:
            found.append(Found(**json.loads(await opener.line(_FILL_S))))
        assert found[turn].leaves >= 20 * DEVICES
        assert found[turn].rate > 0.98 * RATE, f"only {found[turn].rate:.0f} updates/s flowed"
    return [
        Figure(
            "twin.recovery.leaf",
            median(one.leaf_bytes for one in found),
            "bytes",
            f"private memory that the open takes, twins and rules included, for each of {found[0].leaves} leaves",
            reach=400,
            at_most=True,
        ),
        Figure(
            "twin.recovery.p99",
            median(one.p99_ms for one in found),
            "ms",
            f"p99 of one desired value until its commit, on that store, while {RATE} reported updates/s flow in"
            " reports of 20; engine in one process, no broker",
            reach=20,
            at_most=True,
        ),
        Figure(
            "twin.recovery",
            median(one.open_s for one in found),
            "s",
            f"open of store and engine in a new process after a SIGKILL of the one that wrote, {DEVICES} devices x 20"
            f" properties, int, float, bool and string mixed; page cache as it is, median of {_KILLS}",
            reach=3,
            at_most=True,
        ),
    ]
