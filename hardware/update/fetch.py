"""Bundles: over HTTPS with the gateway's certificate, or from a file; one that broke off is gone on with."""

from __future__ import annotations

import contextlib
import hashlib
import http
import http.client
import os
import shutil
import ssl
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO, Final
from urllib.parse import SplitResult, urlsplit

from hardware.errors import UpdateFailed
from hardware.update.backend import Told
from hardware.update.machine import Wanted
from twin.errors import LinkError
from twin.private_file import sync_folder
from twin.release import MAX_BUNDLE_BYTES

TIMEOUT_S: Final = 30.0
SPARE_BYTES: Final = 32 * 2**20
_PIECE: Final = 256 * 1024
_ASK: Final = "It is asked for again."
_GONE: Final = (http.HTTPStatus.NOT_FOUND, http.HTTPStatus.GONE)


class BundleFolder:
    """Keeps bundles under their hashes; ``context`` has the gateway's certificate, and is made anew for each try."""

    def __init__(self, folder: Path, context: Callable[[], ssl.SSLContext]) -> None:
        self.folder = folder
        self._context = context

    def path(self, wanted: Wanted) -> Path:
        """Where a bundle that was fetched lies."""
        name = wanted.sha256 or hashlib.sha256(wanted.url.encode()).hexdigest()
        return self.folder / f"{name}.bundle"

    def clear(self) -> None:
        """Remove all bundles and parts of them."""
        shutil.rmtree(self.folder, ignore_errors=True)

    def fetch(self, wanted: Wanted, told: Told) -> Path:
        """See ``updater.Bundles``."""
        path = self.path(wanted)
        if path.exists():
            return path
        part = path.with_suffix(".part")
        try:
            self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            for other in self.folder.iterdir():
                if other != part:
                    other.unlink()
            self._check_room(wanted, part)
            if wanted.file:
                _copy(Path(wanted.file), part, wanted, told)
            else:
                self._download(wanted, part, told)
            _check_hash(part, wanted)
            part.replace(path)
            sync_folder(self.folder)
        except OSError as error:
            message = f"the bundle of {wanted.version} cannot be kept: {error.strerror or error}"
            raise UpdateFailed(message, remedy="Check free space, permissions and the disk's health.") from None
        return path

    def _check_room(self, wanted: Wanted, part: Path) -> None:
        have = part.stat().st_size if part.exists() else 0
        free = shutil.disk_usage(self.folder).free
        missing = wanted.size_bytes - have + SPARE_BYTES
        if free < missing:
            message = f"{self.folder} has {free >> 20} MiB free, the bundle needs {missing >> 20} MiB"
            raise UpdateFailed(message, remedy="Make room.")

    def _download(self, wanted: Wanted, part: Path, told: Told) -> None:
        with part.open("ab") as file:
            begin = file.tell()
            if begin > wanted.size_bytes:
                begin = 0
                file.truncate(0)
            if begin == wanted.size_bytes:
                return
            with self.answer(wanted, begin) as response:
                if response.status == http.HTTPStatus.OK:  # a server that does not know how to go on begins anew
                    file.truncate(0)
                    begin = 0
                _take(response, file, begin, wanted, told)

    @contextmanager
    def answer(self, wanted: Wanted, begin: int, *, method: str = "GET") -> Iterator[http.client.HTTPResponse]:
        """Ask for a bundle from some byte on. Raises LinkError, or UpdateFailed if it never can be had."""
        parts = _address(wanted.url)
        where = f"{parts.path or '/'}{f'?{parts.query}' if parts.query else ''}"
        headers = {"Range": f"bytes={begin}-"} if begin else {}
        try:
            context = self._context()
        except OSError as error:
            message = f"the gateway's certificate cannot be used: {error}"
            raise LinkError(message, remedy="Renew it: edgetwin join TOKEN.") from None
        connection = http.client.HTTPSConnection(
            parts.hostname or "", parts.port or 443, timeout=TIMEOUT_S, context=context
        )
        try:
            connection.request(method, where, headers=headers)
            response = connection.getresponse()
            _check_status(response, wanted, begin)
            yield response
        except (OSError, http.client.HTTPException) as error:
            why = error.strerror or str(error) if isinstance(error, OSError) else str(error)
            message = f"the bundle of {wanted.version} cannot be had from {parts.netloc}: {why or type(error).__name__}"
            raise LinkError(message, remedy=_ASK) from None
        finally:
            connection.close()


def _address(url: str) -> SplitResult:
    """The parts of the address of a bundle. Raises UpdateFailed if it is none."""
    try:
        parts = urlsplit(url)
        good = parts.scheme == "https" and bool(parts.hostname) and parts.port != 0 and url.isascii()
    except ValueError:  # of a host or a port that is none
        good = False
    if not good:
        message = f"{url} is no address to fetch from"
        raise UpdateFailed(message, remedy="Write https://HOST/PATH in plain ASCII.")
    return parts


def size_of(url: str, context: ssl.SSLContext) -> int:
    """What a server says of the size of a bundle. Raises LinkError or UpdateFailed."""
    asked = Wanted("the address", "", 0, url=url)
    folder = BundleFolder(Path(), lambda: context)
    with folder.answer(asked, 0, method="HEAD") as response:
        said = response.headers.get("Content-Length") or ""
    if not said.isdecimal() or not 0 < int(said) <= MAX_BUNDLE_BYTES:
        message = f"{url} does not say how large the bundle is"
        raise UpdateFailed(message, remedy="Fetch it yourself, and name the file.")
    return int(said)


def described(file: Path) -> tuple[str, int]:
    """Hash and size of a file. Raises UpdateFailed."""
    try:
        with file.open("rb") as opened:
            return hashlib.file_digest(opened, "sha256").hexdigest(), opened.tell()
    except OSError as error:
        message = f"{file} cannot be read: {error.strerror}"
        raise UpdateFailed(message, remedy="Name a bundle.") from None


def _check_status(response: http.client.HTTPResponse, wanted: Wanted, begin: int) -> None:
    if response.status == http.HTTPStatus.OK:
        return
    if response.status == http.HTTPStatus.PARTIAL_CONTENT and begin:
        if (response.headers.get("Content-Range") or "").startswith(f"bytes {begin}-"):
            return
        message = f"the answer for the bundle of {wanted.version} begins elsewhere than at {begin}"
        raise LinkError(message, remedy=_ASK)
    message = f"the bundle of {wanted.version} cannot be had: {wanted.url} answers with HTTP status {response.status}"
    if response.status in _GONE:
        raise UpdateFailed(message, remedy="Put it there, and ask for it again.")
    raise LinkError(message, remedy=_ASK)


def _take(response: BinaryIO | http.client.HTTPResponse, file: BinaryIO, at: int, wanted: Wanted, told: Told) -> None:
    try:
        while piece := response.read(_PIECE):
            at += len(piece)
            if at > wanted.size_bytes:
                file.truncate(0)
                message = f"the bundle of {wanted.version} is larger than the {wanted.size_bytes} bytes it should have"
                raise UpdateFailed(message, remedy="Get it again from whoever made it.")
            try:
                file.write(piece)
            except OSError as error:
                message = f"the bundle of {wanted.version} cannot be kept: {error.strerror}"
                raise UpdateFailed(message, remedy="Make room.") from None
            told(at, wanted.size_bytes)
    finally:
        with contextlib.suppress(OSError):  # the hash tells what is there
            file.flush()
            os.fsync(file.fileno())
    if at < wanted.size_bytes:
        message = f"the bundle of {wanted.version} broke off after {at} of {wanted.size_bytes} bytes"
        raise LinkError(message, remedy=_ASK)


def _copy(source: Path, part: Path, wanted: Wanted, told: Told) -> None:
    if wanted.size_bytes > MAX_BUNDLE_BYTES:
        message = f"{source} has {wanted.size_bytes} bytes"
        raise UpdateFailed(message, remedy=f"Bundles have at most {MAX_BUNDLE_BYTES}.")
    try:
        opened = source.open("rb")
    except OSError as error:
        message = f"{source} cannot be read: {error.strerror}"
        raise UpdateFailed(message, remedy="Name a bundle that is there.") from None
    with opened, part.open("wb") as file:
        try:
            _take(opened, file, 0, wanted, told)
        except LinkError as error:
            raise UpdateFailed(error.message, remedy="Leave the file as it is while it is copied.") from None


def _check_hash(part: Path, wanted: Wanted) -> None:
    found, _ = described(part)
    if wanted.sha256 and found != wanted.sha256:
        part.unlink()
        message = f"what came is not the bundle that was asked for: {found[:16]}..., not {wanted.sha256[:16]}..."
        raise UpdateFailed(message, remedy="Get it again from whoever made it.")
