"""What an image is written to: a whole disk, opened so that nobody else has it, or a file for a virtual machine."""

from __future__ import annotations

import fcntl
import mmap
import os
import stat
import struct
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Final, Protocol

from hardware.errors import DiskRefused, FlashFailed
from hardware.flash.disk import Disk

_BLKGETSIZE64: Final = 0x80081272
_BLKRRPART: Final = 0x125F
ALIGN: Final = 4096


class Target(Protocol):
    """Takes bytes and gives them back. Offsets are bytes; all calls block and raise OSError."""

    size_bytes: int

    def write(self, offset: int, piece: bytes) -> None:
        """Write all of a piece."""

    def sync(self) -> None:
        """Return when everything is on the medium."""

    def read_back(self, offset: int, length: int) -> bytes:
        """Read from the medium, past any cache."""

    def reread_table(self) -> None:
        """Have the kernel look at the partition table again, where there is one to look."""


class OpenTarget:
    """A disk or file. As a context it is open; a disk is checked once more through its open descriptor."""

    def __init__(
        self, path: Path, disk: Disk | None, size_bytes: int, known: Callable[[str], Disk | None] = lambda _: None
    ) -> None:
        """``known``: the disk with these numbers, as the machine knows it at that moment."""
        self.size_bytes = size_bytes
        self.past_cache = True
        """Whether read_back reads past the cache: not where the file system cannot."""
        self._path = path
        self._disk = disk
        self._known = known
        self._fd = -1
        self._direct = -1

    def __enter__(self) -> OpenTarget:
        create = os.O_CREAT if self._disk is None else os.O_EXCL  # O_EXCL of a disk: nobody has it mounted or in use
        try:
            self._fd = os.open(self._path, os.O_RDWR | os.O_CLOEXEC | create, 0o644)
            if self._disk is not None:
                self._same_disk(self._disk)
            else:
                os.ftruncate(self._fd, self.size_bytes)
        except OSError as error:
            self.close()
            message = f"{self._path} cannot be opened for us alone: {error.strerror or error}"
            raise DiskRefused(message, remedy="Nothing may use it: unmount it, stop what holds it; be root.") from None
        except DiskRefused:
            self.close()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Let go of it."""
        for fd in (self._fd, self._direct):
            if fd >= 0:
                os.close(fd)
        self._fd = self._direct = -1

    def write(self, offset: int, piece: bytes) -> None:
        """Write all of a piece."""
        view = memoryview(piece)
        while view:
            count = os.pwrite(self._fd, view, offset)
            offset += count
            view = view[count:]

    def sync(self) -> None:
        """Return when everything is on the medium."""
        os.fsync(self._fd)

    def read_back(self, offset: int, length: int) -> bytes:
        """Read from the medium, past any cache where the file system can."""
        if self._direct < 0:
            self._open_direct()
        padded = length + -length % ALIGN
        with mmap.mmap(-1, padded) as buffer:  # anonymous memory is aligned as direct reads need it
            done = 0
            while done < length:
                with memoryview(buffer)[done:] as rest:
                    count = os.preadv(self._direct, [rest], offset + done)
                if count == 0:
                    message = f"{self._path} ends at {offset + done}"
                    raise FlashFailed(message, remedy="It has less room than it says: do not use it.")
                done += count
            return buffer[:length]

    def reread_table(self) -> None:
        """Have the kernel look at the partition table again."""
        if self._disk is not None:
            with suppress(OSError):  # a loop device without partitions has nothing to look at
                fcntl.ioctl(self._fd, _BLKRRPART)

    def _open_direct(self) -> None:
        self.sync()
        with suppress(OSError):
            os.posix_fadvise(self._fd, 0, 0, os.POSIX_FADV_DONTNEED)
        try:
            self._direct = os.open(self._path, os.O_RDONLY | os.O_CLOEXEC | os.O_DIRECT)
        except OSError:
            self.past_cache = False
            self._direct = os.open(self._path, os.O_RDONLY | os.O_CLOEXEC)

    def _same_disk(self, disk: Disk) -> None:
        """A name may mean another disk by now: size and number are read from what was opened."""
        found = os.fstat(self._fd)
        if not stat.S_ISBLK(found.st_mode):
            message = f"{self._path} is no disk any more"
            raise DiskRefused(message, remedy="Look again: edgetwin hardware disks")
        numbers = f"{os.major(found.st_rdev)}:{os.minor(found.st_rdev)}"
        (size,) = struct.unpack("Q", fcntl.ioctl(self._fd, _BLKGETSIZE64, bytes(8)))
        now = self._known(numbers)
        same = now is not None and (now.serial, now.model, now.mounts) == (disk.serial, disk.model, disk.mounts)
        if numbers != disk.numbers or size != disk.size_bytes or not same:
            message = f"{self._path} is not the disk it was a moment ago"
            raise DiskRefused(message, remedy="Was one pulled out? Look again: edgetwin hardware disks")
