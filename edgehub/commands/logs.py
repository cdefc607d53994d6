"""`edgetwin logs`: what a container has said, read from the files that its shim, or podman's, writes."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Final

import typer

from edgehub.commands.pod_place import container_folder, engine_at, pod_twin
from edgehub.commands.session import ExitCode, run_command
from edgehub.pods.cri_log import PlainText
from twin.manifest.kube_fields import Engine

_POLL_S: Final = 0.2


def logs(
    pod: Annotated[str, typer.Argument(help="name or namespace/name")],
    container: Annotated[
        str, typer.Option("--container", "-c", help="Which container; the only one if left out.")
    ] = "",
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Go on until Ctrl-C.")] = False,
    tail: Annotated[int, typer.Option(min=0, help="Only the last lines; 0 is all.")] = 0,
) -> None:
    """Print what a container has said, the oldest that is kept first. Works without a hub.

    Example: edgetwin logs -f shop/web --tail 20
    """
    run_command(_logs(pod, container, follow, tail))


async def _logs(pod: str, container: str, follow: bool, tail: int) -> int:
    place = container_folder(await pod_twin(pod), container)
    older = sorted(place.glob("log.*"), key=lambda one: -int(one.suffix[1:]))
    plain: Callable[[bytes], bytes] = PlainText().feed if engine_at(place) is Engine.PODMAN else bytes
    lines: list[bytes] = []
    for path in older:
        lines += plain(path.read_bytes()).splitlines(keepends=True)
    reader = _Tail(place / "log")
    lines += plain(reader.more()).splitlines(keepends=True)
    sys.stdout.buffer.write(b"".join(lines[-tail:] if tail else lines))
    sys.stdout.buffer.flush()
    while follow:
        await asyncio.sleep(_POLL_S)
        sys.stdout.buffer.write(plain(reader.more()))
        sys.stdout.buffer.flush()
    return ExitCode.DONE


class _Tail:
    """Reads on in a file that is renamed when it is full and made anew."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._file = path.open("rb") if path.exists() else None

    def more(self) -> bytes:
        """What has come since the last time."""
        said = self._file.read() if self._file is not None else b""
        if not said and self._path.exists() and (self._file is None or not self._same()):
            if self._file is not None:
                self._file.close()
            self._file = self._path.open("rb")
            said = self._file.read()
        return said

    def _same(self) -> bool:
        assert self._file is not None
        return self._path.stat().st_ino == Path(f"/proc/self/fd/{self._file.fileno()}").stat().st_ino
