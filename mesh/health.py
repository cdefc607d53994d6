"""Asks endpoints whether they live: a TCP connection, or a GET whose status counts."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import socket
from collections.abc import Callable, Iterable
from random import Random
from typing import Final

from mesh.model.policies import ProbeKind
from mesh.model.programme import BackendGroup
from mesh.model.services import PortKey
from mesh.probes import Finding, Probe, Probes

log = logging.getLogger(__name__)

MOST_AT_ONCE: Final = 64
MOST_PER_S: Final = 500
"""Above that intervals grow: asking must not cost more than carrying."""
_LONGEST_STATUS_LINE: Final = 1_024


class Prober:
    """Follows the endpoints whose policy has a health check. ``found`` is told of each change of what is known.

    Its owner awaits ``run``; ``follow`` may be called at any time, from the same loop.
    """

    def __init__(
        self,
        found: Callable[[Iterable[Finding]], None],
        clock: Callable[[], float],
        rng: Random,
        most_at_once: int = MOST_AT_ONCE,
        most_per_s: int = MOST_PER_S,
    ) -> None:
        self._found = found
        self._clock = clock
        self._probes = Probes(rng)
        self._most_at_once = most_at_once
        self._pace_s = 1 / most_per_s
        self._running: set[asyncio.Task[None]] = set()
        self._changed = asyncio.Event()
        self._free_s = 0.0
        """When the next one may begin at the earliest."""

    def follow(self, changed: Iterable[BackendGroup], gone: Iterable[PortKey]) -> None:
        """Take what is new or other, and what is gone. The upstreams are told of it before."""
        findings = self._probes.follow(changed, gone, self._clock())
        if findings:
            self._found(findings)
        self._changed.set()

    def findings(self) -> list[Finding]:
        """All that is known right now."""
        return self._probes.findings()

    async def run(self) -> None:
        """Ask, until cancelled."""
        try:
            while True:
                self._changed.clear()
                self._begin_due()
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(self._pause_s()):
                        await self._changed.wait()
        finally:
            for task in self._running:
                task.cancel()
            await asyncio.gather(*self._running, return_exceptions=True)

    def _begin_due(self) -> None:
        now = self._clock()
        # A tenth of a second's worth may begin together; more than that waits its turn.
        self._free_s = max(self._free_s, now - 0.1)
        room = min(self._most_at_once - len(self._running), int((now - self._free_s) / self._pace_s) + 1)
        if room <= 0 or self._free_s > now:
            return
        loop = asyncio.get_running_loop()
        for probe in self._probes.due(now, room):
            self._free_s += self._pace_s
            task = loop.create_task(self._ask(probe))
            self._running.add(task)
            task.add_done_callback(self._running.discard)

    def _pause_s(self) -> float | None:
        if len(self._running) >= self._most_at_once:
            return None  # the next that ends wakes us
        at_s = self._probes.next_s()
        return None if at_s is None else max(0.0, at_s - self._clock(), self._free_s - self._clock())

    async def _ask(self, probe: Probe) -> None:
        good = await lives(probe)
        findings = self._probes.answered(probe, good, self._clock())
        for finding in findings:
            level = logging.INFO if finding.alive else logging.WARNING
            log.log(level, "%s of %s %s", finding.place, finding.port, "lives" if finding.alive else "does not answer")
        if findings:
            self._found(findings)
        self._changed.set()


async def lives(probe: Probe) -> bool:
    """Whether an endpoint answers a probe well, in time."""
    family = socket.AF_INET6 if ":" in probe.address else socket.AF_INET
    loop = asyncio.get_running_loop()
    try:
        async with asyncio.timeout(probe.check.timeout_ms / 1000):
            with socket.socket(family, socket.SOCK_STREAM) as sock:
                sock.setblocking(False)
                await loop.sock_connect(sock, (probe.address, probe.port))
                return probe.check.kind is ProbeKind.TCP or await _answers(loop, sock, probe)
    except (OSError, TimeoutError, ValueError):
        return False


async def _answers(loop: asyncio.AbstractEventLoop, sock: socket.socket, probe: Probe) -> bool:
    host = f"[{probe.address}]" if ":" in probe.address else probe.address
    request = (
        f"GET {probe.check.path} HTTP/1.1\r\nHost: {host}:{probe.port}\r\nUser-Agent: edgetwin-mesh\r\n"
        "Connection: close\r\n\r\n"
    )
    await loop.sock_sendall(sock, request.encode())
    answer = b""
    while b"\n" not in answer:
        chunk = await loop.sock_recv(sock, _LONGEST_STATUS_LINE)
        answer += chunk
        if not chunk or len(answer) > _LONGEST_STATUS_LINE:
            return False
    version, _, rest = answer.partition(b" ")
    status = rest[:3]
    lowest, highest = probe.check.statuses
    return version.startswith(b"HTTP/1.") and status.isdigit() and lowest <= int(status) <= highest
