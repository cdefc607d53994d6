"""Bundles of releases that the cloud serves: files named by their hash, in the state folder of the web server."""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import json
import os
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Annotated, BinaryIO, Final

from pydantic import BaseModel, Field, TypeAdapter, ValidationError

from cloudsync.store.rollouts import Bundle
from twin.errors import Refused
from twin.private_file import sync_folder
from twin.release import MAX_BUNDLE_BYTES, VERSION_RULE, Version

BUNDLES_PATH: Final = "/bundles"
"""Where the web server has them, each below by its hash."""
MAGIC: Final = b"edgetwin-bundle-1 "
RAUC_MAGIC: Final = b"hsqs"
"""RAUC's bundles are squashfs."""
_MAX_HEAD_BYTES: Final = 64
_MAX_MANIFEST_BYTES: Final = 256 * 1024
_PIECE: Final = 1024 * 1024
_VERSION: Final = TypeAdapter(Version)


class BadBundle(Refused):
    """A file that is no bundle, or not the one that it is said to be."""

    code = "bad_bundle"


class _Manifest(BaseModel):
    """What is read of a bundle's manifest here; gateways read all of it, and check who signed it."""

    version: Version
    compatible: Annotated[str, Field(max_length=100)] = ""


class BundleFolder:
    """Where the files lie."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def path(self, sha256: str) -> Path:
        """Of one bundle; ``sha256`` was checked to be one."""
        return self._path / sha256

    def add(
        self, source: Path, *, version: str = "", sha256: str = "", told: Callable[[int, int], None] = lambda *_: None
    ) -> Bundle:
        """Check a file and keep a copy, on disk when this returns. ``told``: bytes done, of how many.

        Raises BadBundle for what is no bundle, or not the one that ``version`` and ``sha256`` name; OSError.
        """
        with source.open("rb") as file:
            size = os.fstat(file.fileno()).st_size
            if not 0 < size <= MAX_BUNDLE_BYTES:
                message = f"{source} has {size} bytes; a bundle has at least 1, at most {MAX_BUNDLE_BYTES}"
                raise BadBundle(message, remedy="Name a bundle.")
            manifest = _manifest(file, source, version)
            file.seek(0)
            self._path.mkdir(mode=0o700, exist_ok=True)
            handle, name = self._begun()
            try:
                with os.fdopen(handle, "wb") as copy:
                    found = _copied(file, copy, size, told)
                if sha256 and found != sha256:
                    message = f"{source} has the sha256 {found}, not {sha256}"
                    raise BadBundle(message, remedy="Get the bundle again from whoever made it.")
                Path(name).replace(self.path(found))
            except BaseException:
                Path(name).unlink(missing_ok=True)
                raise
        sync_folder(self._path)
        return Bundle(found, size, manifest.version, manifest.compatible, source.name)

    def _begun(self) -> tuple[int, str]:
        """A file that is being added, locked while somebody writes it; those that nobody does any more go."""
        with _locked(self._path):
            for left in self._path.glob(".adding.*"):
                with contextlib.suppress(OSError), left.open("rb") as file:
                    fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    left.unlink()
            handle, name = tempfile.mkstemp(dir=self._path, prefix=".adding.")
            fcntl.flock(handle, fcntl.LOCK_EX)
            return handle, name

    def remove(self, sha256: str) -> None:
        """Remove one; nothing happens if there is none. Downloads under way go on to their end."""
        with contextlib.suppress(FileNotFoundError):
            self.path(sha256).unlink()
            sync_folder(self._path)


@contextlib.contextmanager
def _locked(folder: Path) -> Iterator[None]:
    fd = os.open(folder, os.O_RDONLY | os.O_CLOEXEC)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX)
        yield
    finally:
        os.close(fd)


def _manifest(file: BinaryIO, source: Path, version: str) -> _Manifest:
    """What the bundle says of itself, or is said of one that says nothing here."""
    head = file.readline(_MAX_HEAD_BYTES)
    said: _Manifest | None = None
    if head.startswith(MAGIC):
        try:
            count = int(head.split()[1])
            said = _Manifest.model_validate(json.loads(file.read(min(count, _MAX_MANIFEST_BYTES))))
        except (IndexError, ValueError, ValidationError, RecursionError):
            message = f"{source} begins as a bundle does, but its manifest cannot be read"
            raise BadBundle(message, remedy="Get the bundle again from whoever made it.") from None
    elif not head.startswith(RAUC_MAGIC):
        message = f"{source} is no bundle of edgetwin"
        raise BadBundle(message, remedy="Bundles end in .edgetwin, those of images in .raucb.")
    if said is not None:
        if version and version != said.version:
            message = f"{source} is a bundle of {said.version}, not of {version}"
            raise BadBundle(message, remedy="Leave --version out.")
        return said
    try:
        return _Manifest(version=_VERSION.validate_python(version))
    except ValidationError:
        what = f"{version!r} is no version" if version else f"{source} is a bundle of an image: name its version"
        raise BadBundle(what, remedy=f"Add `--version 1.4.0`; a version has {VERSION_RULE}.") from None


def _copied(file: BinaryIO, copy: BinaryIO, size: int, told: Callable[[int, int], None]) -> str:
    digest, done = hashlib.sha256(), 0
    while piece := file.read(_PIECE):
        digest.update(piece)
        copy.write(piece)
        done += len(piece)
        told(done, size)
    copy.flush()
    os.fsync(copy.fileno())
    if done != size:
        message = f"the file had {size} bytes at first, then {done}"
        raise BadBundle(message, remedy="Try again when nobody writes it any more.")
    return digest.hexdigest()
