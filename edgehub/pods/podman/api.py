"""The calls of podman's REST API (libpod, version 4) that the engine makes, with their answers as types."""

from __future__ import annotations

import asyncio
import json
import os
import signal
from collections.abc import Sequence
from contextlib import suppress
from typing import Final, TypeVar
from urllib.parse import quote, urlencode

from pydantic import JsonValue, TypeAdapter, ValidationError

from edgehub.pods.podman.http import Reply, Request, ServiceAway, UnixHttp
from edgehub.pods.podman.replies import Fault, Inspected, Listed, Made, PodInspected, Session
from edgehub.pods.runtime import ExecResult
from twin.errors import EdgetwinError

CALL_S: Final = 60.0
PING_S: Final = 10.0
PULL_S: Final = 900.0
MAX_OUTPUT: Final = 64 * 1024
_BASE: Final = "/v4.0.0/libpod"
_HEAD: Final = 8
"""Bytes before each piece of an exec's output: the stream, three of nothing, the length."""

T = TypeVar("T")


class Refused(EdgetwinError):
    """podman has said no."""

    code = "podman_refused"

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


class PodmanApi:
    """Each call raises Refused, ServiceAway, TimeoutError."""

    def __init__(self, http: UnixHttp) -> None:
        self._http = http

    async def version(self) -> str:
        """The version of podman; `/version` would say more, and ask all of podman's parts for half a second."""
        reply = await self._ask("GET", "/_ping", timeout_s=PING_S)
        return reply.head.headers.get("libpod-api-version", "of no version")

    async def containers(self, label: str) -> list[Listed]:
        """All containers with a label, running or not."""
        return await self._read(list[Listed], "GET", "/containers/json", all="true", filters=_filters(label))

    async def create(self, spec: dict[str, JsonValue]) -> str:
        """Make a container; returns its id."""
        return (await self._read(Made, "POST", "/containers/create", spec)).id

    async def start(self, name: str) -> None:
        """Start a container."""
        await self._done("POST", f"/containers/{name}/start")

    async def stop(self, name: str, grace_s: int) -> None:
        """Ask a container to end, kill it when the grace is over; returns then."""
        await self._done("POST", f"/containers/{name}/stop", timeout_s=grace_s + CALL_S, timeout=str(grace_s))

    async def inspect(self, name: str) -> Inspected | None:
        """All about a container; None if there is none."""
        return await self._found(Inspected, f"/containers/{name}/json")

    async def remove(self, name: str) -> None:
        """Remove a container, and end it if it runs; well if there is none."""
        await self._gone(f"/containers/{name}", force="true", ignore="true", timeout="0", v="true")

    async def create_pod(self, spec: dict[str, JsonValue]) -> None:
        """Make a pod; well if it is there."""
        await self._done("POST", "/pods/create", spec, well=(409,))

    async def inspect_pod(self, name: str) -> PodInspected | None:
        """All about a pod; None if there is none."""
        return await self._found(PodInspected, f"/pods/{name}/json")

    async def pods(self, label: str) -> list[Listed]:
        """All pods with a label."""
        return await self._read(list[Listed], "GET", "/pods/json", filters=_filters(label))

    async def remove_pod(self, name: str) -> None:
        """Remove a pod and all its containers; well if there is none."""
        await self._gone(f"/pods/{name}", force="true")

    async def create_network(self, spec: dict[str, JsonValue]) -> None:
        """Make a network; well if it is there."""
        await self._done("POST", "/networks/create", spec, well=(409,))

    async def has_image(self, image: str) -> bool:
        """Whether an image is here."""
        reply = await self._ask("GET", f"/images/{quote(image, safe='')}/exists", well=(404,))
        return reply.status != 404

    async def pull(self, image: str) -> None:
        """Fetch an image from its registry."""
        query = {"reference": image, "policy": "always", "quiet": "true"}
        reply = await self._ask("POST", "/images/pull", timeout_s=PULL_S, query=query)
        for line in filter(None, reply.body.splitlines()):
            error = _parsed(Fault, line).error
            if error:
                raise Refused(reply.status, error)

    async def execute(self, name: str, command: Sequence[str], timeout_s: float) -> ExecResult:
        """Run a command in a container; when the time is over it is killed."""
        body: dict[str, JsonValue] = {"AttachStdout": True, "AttachStderr": True, "Cmd": list(command)}
        session = ""
        try:
            async with asyncio.timeout(timeout_s):
                session = (await self._read(Made, "POST", f"/containers/{name}/exec", body)).id
                output = await self._output_of(session)
                code = (await self._read(Session, "GET", f"/exec/{session}/json")).code
        except TimeoutError:
            if session:
                with suppress(EdgetwinError, OSError):
                    await self._kill(session)
            raise
        return ExecResult(code, output.decode(errors="replace"))

    async def _output_of(self, session: str) -> bytes:
        output, frames = b"", Frames()
        request = Request("POST", f"{_BASE}/exec/{session}/start", b'{"Detach": false, "Tty": false}')
        async with self._http.asked(request) as (head, chunks):
            async for chunk in chunks:
                output = (output + (frames.feed(chunk) if head.status == 200 else chunk))[:MAX_OUTPUT]
        if head.status != 200:
            raise Refused(head.status, _said(Reply(head, output)))
        return output

    async def _kill(self, session: str) -> None:
        pid = (await self._read(Session, "GET", f"/exec/{session}/json", timeout_s=PING_S)).pid
        if pid > 1:
            os.killpg(pid, signal.SIGKILL)  # the runtime makes it the leader of a group of its own

    # -- inside --------------------------------------------------------------------------------------------------

    async def _ask(
        self,
        method: str,
        path: str,
        body: dict[str, JsonValue] | None = None,
        *,
        timeout_s: float = CALL_S,
        query: dict[str, str] | None = None,
        well: tuple[int, ...] = (),
    ) -> Reply:
        target = f"{_BASE}{path}" + (f"?{urlencode(query)}" if query else "")
        reply = await self._http.ask(
            Request(method, target, b"" if body is None else json.dumps(body).encode()), timeout_s
        )
        if not 200 <= reply.status < 300 and reply.status != 304 and reply.status not in well:
            raise Refused(reply.status, _said(reply))
        return reply

    async def _done(
        self,
        method: str,
        path: str,
        body: dict[str, JsonValue] | None = None,
        *,
        timeout_s: float = CALL_S,
        well: tuple[int, ...] = (),
        **query: str,
    ) -> None:
        await self._ask(method, path, body, timeout_s=timeout_s, query=query, well=well)

    async def _gone(self, path: str, **query: str) -> None:
        await self._ask("DELETE", path, query=query, well=(404,))

    async def _read(
        self,
        model: type[T],
        method: str,
        path: str,
        body: dict[str, JsonValue] | None = None,
        *,
        timeout_s: float = CALL_S,
        **query: str,
    ) -> T:
        return _parsed(model, (await self._ask(method, path, body, timeout_s=timeout_s, query=query)).body)

    async def _found(self, model: type[T], path: str) -> T | None:
        reply = await self._ask("GET", path, well=(404,))
        return None if reply.status == 404 else _parsed(model, reply.body)


class Frames:
    """Takes the output of a command out of its frames; output and errors in the order in which they came."""

    def __init__(self) -> None:
        self._rest = b""
        self._left = 0

    def feed(self, chunk: bytes) -> bytes:
        """What the chunk holds of the output."""
        self._rest += chunk
        said = b""
        while self._rest:
            if self._left:
                piece = self._rest[: self._left]
                said += piece
                self._left -= len(piece)
                self._rest = self._rest[len(piece) :]
            elif len(self._rest) < _HEAD:
                break
            else:
                self._left = int.from_bytes(self._rest[4:_HEAD], "big")
                self._rest = self._rest[_HEAD:]
        return said


def _filters(label: str) -> str:
    return json.dumps({"label": [label]})


def _said(reply: Reply) -> str:
    """Why podman refuses, without what wraps it."""
    try:
        message = Fault.model_validate_json(reply.body).message
    except ValidationError:
        message = reply.body[:200].decode(errors="replace").strip()
    return message or f"status {reply.status}"


def _parsed(model: type[T], body: bytes) -> T:
    try:
        return TypeAdapter(model).validate_json(body)
    except ValidationError as error:
        wrong = error.errors(include_url=False, include_input=False)[0]
        where = ".".join(str(key) for key in wrong["loc"])
        text = f"podman's answer is not understood: {where + ': ' if where else ''}{wrong['msg']}"
        raise ServiceAway(text, remedy="Podman 4.0 or newer is needed; see what answers at the socket.") from None
