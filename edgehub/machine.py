"""What the gateway's machine has for pods: told in the gateway's own twin, for the cloud's scheduler."""

from __future__ import annotations

import os
import platform
from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar, Final, Self

from twin.model import Value, ValueType

_ARCH: Final = {"x86_64": "amd64", "aarch64": "arm64", "armv7l": "arm"}
"""The names that Kubernetes and container images have."""


@dataclass(frozen=True, slots=True)
class Machine:
    """Processors, memory and architecture; they do not change while the hub runs."""

    TYPES: ClassVar[Mapping[str, ValueType]] = {
        "cpu": ValueType.INT,
        "memory": ValueType.INT,
        "arch": ValueType.STRING,
    }
    """What the gateway's own twin has of it."""

    cpu: int
    memory_bytes: int
    arch: str

    @classmethod
    def here(cls) -> Self:
        """This machine."""
        memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
        arch = platform.machine()
        return cls(os.cpu_count() or 1, memory, _ARCH.get(arch, arch))

    def reported(self) -> dict[str, Value]:
        """What the gateway's own twin says of it."""
        return {"cpu": self.cpu, "memory": self.memory_bytes, "arch": self.arch}
