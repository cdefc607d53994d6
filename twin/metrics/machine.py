"""What every process of ours tells of itself: memory, processor time, files, release."""

from __future__ import annotations

import os
import resource
from importlib.metadata import version
from pathlib import Path
from typing import Final

from twin.metrics.model import Metric, MetricType, Samples

BUILD: Final = Metric("edgetwin_build_info", MetricType.GAUGE, "Always 1; the release is in the label", ("version",))
MEMORY: Final = Metric(
    "edgetwin_process_resident_bytes", MetricType.GAUGE, "Memory of the process that is resident", ("process",)
)
CPU: Final = Metric(
    "edgetwin_process_cpu_seconds_total", MetricType.COUNTER, "Processor time of the process", ("process",)
)
FILES: Final = Metric("edgetwin_process_open_files", MetricType.GAUGE, "Open files and sockets", ("process",))
PROCESS: Final = (BUILD, MEMORY, CPU, FILES)


def put_process(samples: Samples, name: str) -> None:
    """Measure this process."""
    usage = resource.getrusage(resource.RUSAGE_SELF)
    samples.put(CPU, usage.ru_utime + usage.ru_stime, name)
    try:
        pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
        samples.put(MEMORY, pages * os.sysconf("SC_PAGE_SIZE"), name)
        samples.put(FILES, sum(1 for _ in Path("/proc/self/fd").iterdir()), name)
    except (OSError, ValueError, IndexError):
        samples.put(MEMORY, usage.ru_maxrss * 1024, name)
    samples.put(BUILD, 1, version("edgetwin"))
