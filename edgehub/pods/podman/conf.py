"""The files that make podman the hub's own: its images, its containers, its limits; no file of the system is touched.

<state>/podman/containers.conf, storage.conf    generated at each start
<state>/podman/storage/                         images and containers
/run/edgetwin/<digest of the state folder>/     socket, mounts and locks: nothing that may outlive the machine's start
"""

from __future__ import annotations

import hashlib
import resource
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from edgehub.pods.records import boot_id

RUN: Final = Path("/run/edgetwin")
NETWORK: Final = "edgetwin"
_MAX_FILES: Final = 1_048_576
_EXEC_KEPT_S: Final = 10
"""How long a process stays beside each exec that has ended; of podman's own 300 s, probes would make many."""
_MAX_PIDS: Final = Path("/proc/sys/kernel/pid_max")


@dataclass(frozen=True, slots=True)
class PodmanPlace:
    """Where an own podman keeps what."""

    folder: Path
    """What is kept."""
    run: Path
    """What is not; its path is short, for a socket's may have 107 characters."""

    @classmethod
    def of(cls, folder: Path) -> PodmanPlace:
        """The place whose kept part is a folder."""
        return cls(folder, RUN / digest(str(folder)))

    @property
    def socket(self) -> Path:
        """Where its service listens."""
        return self.run / "podman.sock"

    @property
    def environment(self) -> dict[str, str]:
        """What makes any call of podman one of this podman."""
        return {
            "CONTAINERS_CONF": str(self.folder / "containers.conf"),
            "CONTAINERS_STORAGE_CONF": str(self.folder / "storage.conf"),
        }

    def make(self) -> None:
        """Write the files, and clear what an earlier start of the machine has left. Raises OSError."""
        self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        RUN.mkdir(mode=0o711, exist_ok=True)
        boot = self.run / "boot"
        if self.run.exists() and not (boot.exists() and boot.read_text(encoding="ascii") == boot_id()):
            shutil.rmtree(self.run, ignore_errors=True)  # else podman believes that its containers run
        self.run.mkdir(mode=0o700, exist_ok=True)
        boot.write_text(boot_id(), encoding="ascii")
        (self.folder / "containers.conf").write_text(containers_conf(self, Machine.here()), encoding="utf-8")
        (self.folder / "storage.conf").write_text(storage_conf(self), encoding="utf-8")


@dataclass(frozen=True, slots=True)
class Machine:
    """What podman has to be told of the machine, for it does not find it out well."""

    max_files: int
    max_processes: int
    has_systemd: bool
    has_unified_cgroups: bool
    has_runc: bool

    @classmethod
    def here(cls) -> Machine:
        """This one."""
        return cls(
            max_files=_bounded(resource.RLIMIT_NOFILE, _MAX_FILES),
            # podman lowers its own to this, and cannot give its containers more.
            max_processes=_bounded(resource.RLIMIT_NPROC, int(_MAX_PIDS.read_text(encoding="ascii"))),
            has_systemd=Path("/run/systemd/system").is_dir(),
            has_unified_cgroups=Path("/sys/fs/cgroup/cgroup.controllers").exists(),
            has_runc=shutil.which("runc", path="/usr/sbin:/usr/bin:/sbin:/bin:/usr/local/sbin:/usr/local/bin")
            is not None,
        )


def containers_conf(place: PodmanPlace, machine: Machine) -> str:
    """What podman is told. Pure."""
    engine = {"events_logger": "none", "tmp_dir": str(place.run / "libpod")}
    if not machine.has_systemd:
        engine["cgroup_manager"] = "cgroupfs"
    if machine.has_runc and not machine.has_unified_cgroups:
        engine["runtime"] = "runc"  # crun refuses control groups of both versions side by side
    # Without them podman asks for more than a hub may have that lacks CAP_SYS_RESOURCE; 4.3 swaps the two numbers.
    limits = [
        f"nofile={machine.max_files}:{machine.max_files}",
        f"nproc={machine.max_processes}:{machine.max_processes}",
    ]
    lines = ["# Generated at each start of the hub; edits are lost.", "[containers]"]
    lines += [f"default_ulimits = {_strings(limits)}", 'log_driver = "k8s-file"', "http_proxy = false", "[engine]"]
    lines += [f"{key} = {_string(value)}" for key, value in engine.items()]
    lines += [f"exit_command_delay = {_EXEC_KEPT_S}"]
    lines += ["[network]", 'network_backend = "netavark"']
    lines += [f"network_config_dir = {_string(str(place.folder / 'networks'))}"]
    return "\n".join(lines) + "\n"


def storage_conf(place: PodmanPlace) -> str:
    """Where podman keeps images and containers. Pure."""
    lines = ["# Generated at each start of the hub; edits are lost.", "[storage]", 'driver = "overlay"']
    lines += [
        f"graphroot = {_string(str(place.folder / 'storage'))}",
        f"runroot = {_string(str(place.run / 'storage'))}",
    ]
    return "\n".join(lines) + "\n"


def digest(text: str) -> str:
    """A short name for a long one."""
    return hashlib.sha256(text.encode()).hexdigest()[:12]


def _bounded(which: int, most: int) -> int:
    hard = resource.getrlimit(which)[1]
    return most if hard == resource.RLIM_INFINITY else min(hard, most)


def _string(text: str) -> str:
    escaped = text.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'


def _strings(texts: list[str]) -> str:
    return f"[{', '.join(map(_string, texts))}]"
