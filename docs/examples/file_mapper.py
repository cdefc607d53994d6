"""A mapper for files: each property is a file that holds one number, as Linux shows its sensors below /sys."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from pathlib import Path

from mappers.sdk import (
    ConnectionConfig,
    DeviceConfig,
    Fault,
    Mapper,
    NotConnected,
    Point,
    PointConfig,
    Readings,
    Reason,
    Value,
    WriteRefused,
)


class FileConnection(ConnectionConfig):
    """Where the devices are."""

    root: Path


class FileDevice(DeviceConfig):
    """One device is one folder."""

    folder: str


class FilePoint(PointConfig):
    """One property is one file."""

    file: str


class FileDriver:
    """Reads and writes the files; the SDK does all the rest."""

    def __init__(self, config: FileConnection) -> None:
        self._root = config.root

    async def connect(self) -> None:
        """See whether the root is there."""
        if not await asyncio.to_thread(self._root.is_dir):
            message = f"folder {self._root} is not there"
            raise NotConnected(message, remedy="Mount it, or correct root in the Connection.")

    async def close(self) -> None:
        """Nothing is kept open."""

    def plan(self, device: FileDevice, points: Sequence[Point[FilePoint]]) -> dict[str, Path]:
        """Find the file of each property."""
        return {point.name: self._root / device.folder / point.address.file for point in points}

    async def read(self, plan: dict[str, Path]) -> Readings:
        """Read all files on a thread: a driver that blocks must not hold up the loop."""
        return await asyncio.to_thread(_read, plan)

    async def write(self, device: FileDevice, point: Point[FilePoint], value: Value) -> None:
        """Write one file."""
        path = self._root / device.folder / point.address.file
        try:
            await asyncio.to_thread(path.write_text, str(value))
        except OSError as error:
            message = f"{point.name}: {path} was not written: {error.strerror}"
            raise WriteRefused(message) from error


def _read(plan: dict[str, Path]) -> Readings:
    readings = Readings()
    for name, path in plan.items():
        try:
            readings.values[name] = float(path.read_text())
        except OSError as error:
            readings.faults[name] = Fault(Reason.ILLEGAL_ADDRESS, f"{path}: {error.strerror}")
        except ValueError:
            readings.faults[name] = Fault(Reason.DECODE_ERROR, f"{path} does not hold a number")
    return readings


MAPPER = Mapper(name="file", connection=FileConnection, device=FileDevice, point=FilePoint, driver=FileDriver)
