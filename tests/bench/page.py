"""docs/benchmarks.md: one row a figure; a run replaces its own rows and leaves the others."""

from __future__ import annotations

import os
import platform
import sys
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from tests.bench.figure import Figure, plain

_HEAD: Final = """\
# Benchmarks

Made by `make bench` (`make bench ONLY=<name>` for one, `make bench-long` for longer runs); edits are lost. Peers and
floors run beside us in the same run, interleaved. Files are on the real disk, every answer is sent after its commit
(WAL, synchronous=FULL). Lower is better where reach begins with <=; where it is -, nothing is asked of the figure.

| figure | value | unit | reach | | machine | date | what is measured |
|---|---|---|---|---|---|---|---|
"""


@dataclass
class Page:
    """Rows by figure name."""

    rows: dict[str, str] = field(default_factory=dict)

    @classmethod
    def read(cls, path: Path) -> Page:
        """Take the rows of an earlier run."""
        lines = path.read_text(encoding="utf-8").splitlines() if path.exists() else []
        return cls({line.split("`")[1]: line for line in lines if line.startswith("| `")})

    def put(self, figures: list[Figure]) -> None:
        """Replace the rows of these figures; the headline comes first."""
        for one in reversed(figures):
            cells = (
                plain(one.value),
                one.unit,
                one.asked,
                one.verdict,
                machine(),
                f"{datetime.now(UTC):%Y-%m-%d}",
                one.says,
            )
            self.rows[one.name] = f"| `{one.name}` | {' | '.join(cells)} |"

    def write(self, path: Path) -> None:
        """Write the page."""
        path.parent.mkdir(exist_ok=True)
        rows = "".join(f"{self.rows[name]}\n" for name in sorted(self.rows))
        path.write_text(_HEAD + rows, encoding="utf-8")


def machine() -> str:
    """Describe the machine in a line."""
    cpu = next(
        (line.partition(":")[2].strip() for line in _lines("/proc/cpuinfo") if line.startswith("model name")),
        platform.machine(),
    )
    total_kb = next((int(line.split()[1]) for line in _lines("/proc/meminfo") if line.startswith("MemTotal")), 0)
    python = ".".join(map(str, sys.version_info[:3]))
    kernel = platform.release().split("-")[0]
    return f"{os.cpu_count()} x {cpu}, {total_kb / 1e6:.0f} GB, Linux {kernel}, Python {python}"


def _lines(path: str) -> list[str]:
    try:
        return Path(path).read_text(encoding="utf-8").splitlines()
    except OSError:
        return []
