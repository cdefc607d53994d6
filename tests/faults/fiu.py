"""libfiu, which makes system calls of a running process fail on command."""

import subprocess
from pathlib import Path

LIBRARIES = (Path("/usr/lib/fiu/fiu_run_preload.so"), Path("/usr/lib/fiu/fiu_posix_preload.so"))
MISSING = "libfiu is not installed: apt-get install fiu-utils"
NO_SPACE = 28  # ENOSPC
IO_ERROR = 5  # EIO
FSYNC = "posix/io/sync/*"  # fsync and fdatasync
PWRITE = "posix/io/rw/pwrite*"


def installed() -> bool:
    return all(library.exists() for library in LIBRARIES)


def environment(folder: Path) -> dict[str, str]:
    """What a process needs to be controlled; each child of it is controlled by its own pid."""
    return {"LD_PRELOAD": " ".join(map(str, LIBRARIES)), "FIU_CTRL_FIFO": str(folder / "fiu")}


def fail(folder: Path, pid: int, calls: str, errno: int, probability: float = 1.0) -> None:
    """Make calls of a process fail from now on, always or with a probability."""
    control(folder, pid, f"enable_random name={calls},probability={probability},failinfo={errno}")


def heal(folder: Path, pid: int, calls: str) -> None:
    control(folder, pid, f"disable name={calls}")


def control(folder: Path, pid: int, command: str) -> None:
    subprocess.run(["fiu-ctrl", "-f", str(folder / "fiu"), "-c", command, str(pid)], check=True, timeout=30)
