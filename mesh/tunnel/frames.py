"""What is said on a line before the bytes, and how frames are cut. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, Final, TypeVar

from pydantic import BaseModel, ConfigDict, StringConstraints, ValidationError

from mesh.model.services import PortKey, ServiceKey

LENGTH_BYTES: Final = 2
MAX_FRAME_BYTES: Final = 0xFFFF
MAX_WORDS_BYTES: Final = 4096
"""Of a frame of words; only bytes may be longer."""

Name = Annotated[str, StringConstraints(min_length=1, max_length=253)]


class BadFrame(Exception):
    """The other side does not speak this."""


class Words(BaseModel):
    """What one side says to the other."""

    model_config = ConfigDict(frozen=True, extra="ignore")  # a newer side may say more


class Ask(Words):
    """A caller wants a connection to an endpoint of a port."""

    namespace: Name
    service: Name
    port: int
    place: Name

    @property
    def key(self) -> PortKey:
        """The port."""
        return PortKey(ServiceKey(self.namespace, self.service), self.port)


class Answer(Words):
    """``refused`` says why not; empty: bytes follow."""

    refused: str = ""


class Join(Words):
    """A gateway at a relay: it wants to be called, or calls."""

    call: str = ""
    """The gateway that is called; empty: this one waits to be called."""


class Called(Words):
    """A relay to a gateway that waits: somebody calls, and is let through when `Answer` came back."""

    caller: Name


M = TypeVar("M", bound=Words)


def frame(body: bytes) -> bytes:
    """One frame. The body is not longer than ``MAX_FRAME_BYTES``."""
    return len(body).to_bytes(LENGTH_BYTES) + body


def frames(content: bytes) -> Iterator[bytes]:
    """Frames of bytes of any length, and none of nothing."""
    for start in range(0, len(content), MAX_FRAME_BYTES):
        yield frame(content[start : start + MAX_FRAME_BYTES])


def words(said: Words) -> bytes:
    """A frame of words."""
    return frame(said.model_dump_json(exclude_defaults=True).encode())


def read_words(model: type[M], body: bytes) -> M:
    """What a frame of words says. Raises BadFrame."""
    if len(body) > MAX_WORDS_BYTES:
        text = f"{len(body)} bytes where words of at most {MAX_WORDS_BYTES} are expected"
        raise BadFrame(text)
    try:
        return model.model_validate_json(body)
    except ValidationError as error:
        text = f"no {model.__name__}: {error.error_count()} faults in {body[:80]!r}"
        raise BadFrame(text) from None


class Cutter:
    """Cuts what arrives into frames."""

    __slots__ = ("_left",)

    def __init__(self) -> None:
        self._left = bytearray()

    def feed(self, received: bytes) -> Iterator[bytes]:
        """The frames that are whole now; what is not yielded stays for the next call."""
        self._left += received
        while len(self._left) >= LENGTH_BYTES:
            ends = LENGTH_BYTES + int.from_bytes(self._left[:LENGTH_BYTES])
            if len(self._left) < ends:
                return
            body = bytes(self._left[LENGTH_BYTES:ends])
            del self._left[:ends]
            yield body

    def left(self) -> bytes:
        """What has arrived of frames that were not yielded."""
        return bytes(self._left)
