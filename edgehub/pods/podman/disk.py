"""What the podman engine writes down, and how its times become those of the machine's own clock. Blocks."""

from __future__ import annotations

import time
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from edgehub.pods.cri_log import put_aside
from edgehub.pods.model import LogLimits
from edgehub.pods.podman.replies import State
from edgehub.pods.podman.watch import Running, bundle_of
from edgehub.pods.records import ExitRecord, RunRecord, StartRecord, boot_id, write


@dataclass(frozen=True, slots=True)
class Enter:
    """How a command of the gateway gets into a container."""

    words: tuple[str, ...]
    name: str


def boot_s() -> float:
    """Seconds since the machine started."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)


def write_run(place: Path, run: RunRecord) -> None:
    """A run is about to begin. Raises OSError."""
    place.mkdir(mode=0o700, parents=True, exist_ok=True)
    write(place / "run.json", run)


def write_start(place: Path, running: Running, at: float, enter: Enter) -> StartRecord:
    """A run has begun. Raises OSError."""
    record = StartRecord(
        run=running.run,
        shim=running.conmon,
        pid=running.pid,
        at=at,
        boot=boot_id(),
        enter=enter.words,
        inside=enter.name,
    )
    write(place / "started.json", record)
    return record


def end_record(run: int, code: int) -> ExitRecord:
    """A run has ended just now."""
    return ExitRecord(run=run, code=code, at=boot_s(), boot=boot_id())


def seen_record(run: int, state: State) -> ExitRecord:
    """A run has ended while no hub looked: podman has only the time of a clock that may have been set since."""
    ago = max((datetime.now(UTC) - state.finished_at).total_seconds(), 0.0)
    return ExitRecord(run=run, code=state.code, at=max(boot_s() - ago, 0.0), boot=boot_id())


def keep_log(output: Path, conmon: int, limits: LogLimits) -> None:
    """Put a log aside that has grown to its limit. Raises OSError."""
    try:
        size = output.stat().st_size
    except FileNotFoundError:
        return
    bundle = bundle_of(conmon) if size > limits.max_bytes else None
    if bundle is not None:
        put_aside(output, limits.files, bundle)
