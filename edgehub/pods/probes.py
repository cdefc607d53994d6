"""Probes: whether containers are well, asked on our own timers. What counts as well is pure; asking is not."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass
from enum import StrEnum
from typing import TypeAlias

from edgehub.pods.model import PodId
from edgehub.pods.runtime import HERE, PodRuntime
from edgehub.pods.spec import CannotStart
from twin.manifest.kube import Container, Exec, HttpGet, Probe, TcpSocket


class Asked(StrEnum):
    """What a probe is for."""

    STARTUP = "startup"
    LIVENESS = "liveness"
    READINESS = "readiness"


@dataclass(frozen=True, slots=True)
class Answer:
    """What one try of a probe found."""

    well: bool
    text: str = ""


@dataclass(frozen=True, slots=True)
class Tally:
    """Answers of one kind in a row."""

    well: bool = False
    count: int = 0

    def after(self, well: bool) -> Tally:
        """The tally after one more answer."""
        return Tally(well, self.count + 1 if well is self.well else 1)

    def verdict(self, probe: Probe) -> bool | None:
        """Well, or not, once there are enough answers in a row; None before."""
        enough = probe.success_threshold if self.well else probe.failure_threshold
        return self.well if self.count >= enough else None


OnVerdict: TypeAlias = Callable[[PodId, str, Asked, Answer], None]


class Probes:
    """The probes of all containers that run."""

    def __init__(self, runtime: PodRuntime, on_verdict: OnVerdict) -> None:
        self._runtime = runtime
        self._on_verdict = on_verdict
        self._tasks: dict[tuple[PodId, str], asyncio.Task[None]] = {}

    def start(self, pod: PodId, container: Container, *, delayed: bool = True) -> None:
        """Ask from now on; without delay if the container has run for long."""
        if container.startup_probe or container.liveness_probe or container.readiness_probe:
            work = self._probe(pod, container, delayed=delayed)
            self._tasks[pod, container.name] = asyncio.create_task(work, name=f"probes of {pod.name}")

    def stop(self, pod: PodId, container: str) -> None:
        """Ask no more."""
        task = self._tasks.pop((pod, container), None)
        if task is not None:
            task.cancel()

    def close(self) -> None:
        """Ask nobody any more."""
        for task in self._tasks.values():
            task.cancel()
        self._tasks.clear()

    async def _probe(self, pod: PodId, container: Container, *, delayed: bool) -> None:
        if container.startup_probe is not None:
            await self._repeat(pod, container, Asked.STARTUP, container.startup_probe, delayed=delayed)
        async with asyncio.TaskGroup() as group:
            for asked, probe in (
                (Asked.LIVENESS, container.liveness_probe),
                (Asked.READINESS, container.readiness_probe),
            ):
                if probe is not None:
                    group.create_task(self._repeat(pod, container, asked, probe, delayed=delayed))

    async def _repeat(self, pod: PodId, container: Container, asked: Asked, probe: Probe, *, delayed: bool) -> None:
        """Ask until cancelled; a startup probe until it has succeeded."""
        await asyncio.sleep(probe.initial_delay_seconds if delayed else 0)
        tally, told = Tally(), None
        while True:
            answer = await self._ask(pod, container, probe)
            tally = tally.after(answer.well)
            verdict = tally.verdict(probe)
            if verdict is not None and verdict != told:
                told = verdict
                self._on_verdict(pod, container.name, asked, answer)
                if asked is Asked.STARTUP and verdict:
                    return
            await asyncio.sleep(probe.period_seconds)

    async def _ask(self, pod: PodId, container: Container, probe: Probe) -> Answer:
        timeout_s = float(probe.timeout_seconds)
        if probe.exec is not None:
            return await ask_exec(self._runtime, pod, container.name, probe.exec, timeout_s)
        if probe.http_get is not None:
            return await ask_http(container, probe.http_get, timeout_s, await self._runtime.address(pod))
        assert probe.tcp_socket is not None, "the rules of documents ask for one of the three"
        return await ask_tcp(container, probe.tcp_socket, timeout_s, await self._runtime.address(pod))


async def ask_exec(runtime: PodRuntime, pod: PodId, container: str, action: Exec, timeout_s: float) -> Answer:
    """Run the command in the container."""
    try:
        result = await runtime.execute(pod, container, action.command, timeout_s)
    except TimeoutError:
        return Answer(False, f"no answer in {timeout_s:g} s")
    except (CannotStart, OSError) as error:
        return Answer(False, str(error))
    return Answer(result.code == 0, "" if result.code == 0 else f"exit code {result.code}: {result.output[:200]}")


async def ask_http(container: Container, action: HttpGet, timeout_s: float, address: str = HERE) -> Answer:
    """Ask for the path at the pod's address; 200 to 399 is well."""
    host, port = action.host or address, _port(container, action.port)
    headers = {"Host": f"{host}:{port}", "User-Agent": "edgetwin-probe", "Connection": "close"}
    headers |= {header.name: header.value for header in action.http_headers}
    head = "".join(f"{name}: {value}\r\n" for name, value in headers.items())

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> Answer:
        writer.write(f"GET {action.path} HTTP/1.1\r\n{head}\r\n".encode())
        words = (await reader.readline()).split()
        code = int(words[1]) if len(words) > 1 and words[1].isdigit() else 0
        return Answer(200 <= code < 400, f"status {code}" if code else "no HTTP answer")

    return await _connected(host, port, talk, timeout_s, tls=action.scheme == "HTTPS")


async def ask_tcp(container: Container, action: TcpSocket, timeout_s: float, address: str = HERE) -> Answer:
    """Open a connection to the pod's address."""

    async def talk(_: asyncio.StreamReader, __: asyncio.StreamWriter) -> Answer:
        return Answer(True)

    return await _connected(action.host or address, _port(container, action.port), talk, timeout_s)


async def _connected(
    host: str,
    port: int,
    talk: Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[Answer]],
    timeout_s: float,
    *,
    tls: bool = False,
) -> Answer:
    try:
        async with asyncio.timeout(timeout_s):
            reader, writer = await asyncio.open_connection(host, port, ssl=_unverified() if tls else None)
            try:
                return await talk(reader, writer)
            finally:
                writer.close()
                with suppress(OSError):
                    await writer.wait_closed()
    except TimeoutError:
        return Answer(False, f"{host}:{port} gave no answer in {timeout_s:g} s")
    except (OSError, ValueError, ssl.SSLError) as error:
        return Answer(False, f"{host}:{port}: {error}")


def _unverified() -> ssl.SSLContext:
    """As in Kubernetes, a probe asks whether something answers, and not who."""
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context


def _port(container: Container, port: int | str) -> int:
    return port if isinstance(port, int) else next(one.container_port for one in container.ports if one.name == port)
