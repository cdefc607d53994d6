"""Root file systems from archives: unpacked once, kept, and shared by every container that uses them."""

from __future__ import annotations

import hashlib
import shutil
import tarfile
from pathlib import Path
from typing import Final

from edgehub.pods.spec import CannotStart, Why

HOST: Final = "host"
_SCHEME: Final = "file://"


class Images:
    """The unpacked images below a folder."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def root_of(self, image: str, *, refresh: bool) -> str:
        """The folder of an image, unpacked if it is not yet; empty for the host. Blocks. Raises CannotStart."""
        if image == HOST:
            return ""
        archive = Path(image.removeprefix(_SCHEME))
        place = self._folder / hashlib.sha256(str(archive).encode()).hexdigest()[:16]
        try:
            stat = archive.stat()
        except OSError as error:
            kept = sorted(
                (one for one in place.glob("*") if one.suffix != ".part"), key=lambda one: one.stat().st_ctime
            )
            if kept and not refresh:
                return str(kept[-1])
            text = f"the image {archive} cannot be read: {error.strerror}"
            raise CannotStart(Why.IMAGE, text, remedy="Put it there.") from None
        unpacked = place / f"{stat.st_mtime_ns}-{stat.st_size}"
        if not unpacked.is_dir():
            self._unpack(archive, unpacked)
        return str(unpacked)

    def _unpack(self, archive: Path, unpacked: Path) -> None:
        part = unpacked.with_suffix(".part")
        shutil.rmtree(part, ignore_errors=True)
        try:
            part.mkdir(parents=True)
            with tarfile.open(archive) as tar:
                tar.extractall(part, filter="tar")
            part.rename(unpacked)
        except (OSError, tarfile.TarError) as error:
            shutil.rmtree(part, ignore_errors=True)
            text = f"the image {archive} cannot be unpacked: {error}"
            raise CannotStart(Why.IMAGE, text, remedy="Check the archive and the free space.") from None
