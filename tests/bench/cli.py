"""Commands as a user waits for them."""

from __future__ import annotations

import asyncio
import subprocess
import time
from collections.abc import Mapping, Sequence
from statistics import median

from tests.bench.figure import Figure, Scale
from tests.bench.rig import EDGETWIN, ROOT, environment


async def overview(_scale: Scale) -> list[Figure]:
    """`edgetwin --help`."""
    took_ms = median([await whole_command_ms(["--help"], environment()) for _ in range(11)][1:])
    says = "`edgetwin --help`, whole command, median of 10, compiled files in place"
    return [Figure("cli.help", took_ms, "ms", says, reach=200, at_most=True)]


async def whole_command_ms(arguments: Sequence[str], env: Mapping[str, str]) -> float:
    """Run a command of ours from fork to exit; raises CalledProcessError if it fails."""

    def run() -> float:
        began_s = time.perf_counter()
        subprocess.run([*EDGETWIN, *arguments], cwd=ROOT, env=env, check=True, capture_output=True, timeout=30)
        return (time.perf_counter() - began_s) * 1000

    return await asyncio.to_thread(run)
