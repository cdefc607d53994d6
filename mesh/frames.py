"""What the mesh's process and its owner tell each other. Pure: values to bytes and back.

    4 bytes length, most significant first │ JSON {"kind": "...", ...}

    owner ──> mesh   begin, whole, changed, votes, reached, callers, alarms
    mesh ──> owner   ready, programmed, refused, health, counted, alerted, asked
    mesh ──> worker  begin, carry, reached, callers; a worker says ready, counted and alive

``begin`` comes first, then ``whole``. A table has a number, and ``programmed`` says which number is carried out.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, Final, Literal, TypeAlias

from pydantic import Field, TypeAdapter, ValidationError

from mesh.alerts import Alert
from mesh.errors import ControlError
from mesh.model.alarms import AlarmRule
from mesh.model.programme import ProgrammeDelta
from mesh.model.routes import RouteKey
from mesh.model.services import Plane, PortKey, ServiceKey
from mesh.model.table import TableChange
from mesh.problems import Problem
from mesh.settings import Settings
from mesh.snapshot import Snapshot
from mesh.wire import Written, described

MAX_FRAME_BYTES: Final = 32 * 1024 * 1024
_LENGTH: Final = 4


class Begin(Written):
    """Who the owner is and what the mesh is to be; another one later ends the process, for it cannot change itself."""

    kind: Literal["begin"] = "begin"
    settings: Settings


class Whole(Written):
    """A table, in place of the one before."""

    kind: Literal["whole"] = "whole"
    number: int
    table: TableChange


class Changed(Written):
    """A change of the table before; ``number`` is one more than that of the table it changes."""

    kind: Literal["changed"] = "changed"
    number: int
    change: TableChange


class Vote(Written):
    """What someone found when it reached for an endpoint."""

    port: PortKey
    place: str
    healthy: bool


class Votes(Written):
    """All that another gateway has found lately, in place of what it said before; it did so ``age_ms`` ago."""

    kind: Literal["votes"] = "votes"
    node: str
    votes: tuple[Vote, ...]
    age_ms: int = 0


class Reached(Written):
    """Who is reached right now: the cloud, and which other gateways."""

    kind: Literal["reached"] = "reached"
    cloud: bool
    peers: tuple[str, ...] = ()


class Callers(Written):
    """Whose addresses are whose, for the call graph: address to ``namespace/name``."""

    kind: Literal["callers"] = "callers"
    names: dict[str, str]


class Tunnels(Written):
    """Where the tunnels of other gateways are reached, all that are known: gateway to ``host:port``."""

    kind: Literal["tunnels"] = "tunnels"
    places: dict[str, str]


class Alarms(Written):
    """The alarm rules, in place of those before."""

    kind: Literal["alarms"] = "alarms"
    rules: tuple[AlarmRule, ...]


class Carry(Written):
    """A change of the programme; for workers, whose first process has compiled it."""

    kind: Literal["carry"] = "carry"
    delta: ProgrammeDelta


class PlaneState(Written):
    """Whether a plane is there, and why not."""

    plane: Plane
    why_not: str = ""


class Ready(Written):
    """The mesh is there, and waits for its table."""

    kind: Literal["ready"] = "ready"
    pid: int
    planes: tuple[PlaneState, ...]
    dns: tuple[str, ...] = ()
    """Where DNS is served."""
    problems: tuple[str, ...] = ()
    """What of its settings could not be carried out."""


class Programmed(Written):
    """The table of this number is carried out, but for the problems. ``problems`` None: those of the last time."""

    kind: Literal["programmed"] = "programmed"
    number: int
    problems: dict[RouteKey | ServiceKey, tuple[Problem, ...]] | None = None


class Refused(Written):
    """The table of this number means nothing; the one before is still carried out."""

    kind: Literal["refused"] = "refused"
    number: int
    why: str


class Health(Written):
    """What the mesh's own probes found anew."""

    kind: Literal["health"] = "health"
    votes: tuple[Vote, ...]


class Counted(Written):
    """What was counted and how endpoints stand, as far as it is other than the last time; at most each second."""

    kind: Literal["counted"] = "counted"
    snapshot: Snapshot


class Alerted(Written):
    """Alarm rules that begin to hold, or hold no more."""

    kind: Literal["alerted"] = "alerted"
    alerts: tuple[Alert, ...]


class Asked(Written):
    """Services that were asked for by name or address since the last time, which may be unknown here."""

    kind: Literal["asked"] = "asked"
    services: tuple[ServiceKey, ...]


class Alive(Written):
    """There is nothing to say, and the sender lives; of workers alone."""

    kind: Literal["alive"] = "alive"


FromOwner: TypeAlias = Begin | Whole | Changed | Votes | Reached | Callers | Tunnels | Alarms | Carry
Said: TypeAlias = Reached | Callers | Tunnels
"""What the owner says of the world, which workers have to know as well."""
FromMesh: TypeAlias = Ready | Programmed | Refused | Health | Counted | Alerted | Asked | Alive

_FROM_OWNER: Final = TypeAdapter[FromOwner](Annotated[FromOwner, Field(discriminator="kind")])
_FROM_MESH: Final = TypeAdapter[FromMesh](Annotated[FromMesh, Field(discriminator="kind")])


def encode(frame: FromOwner | FromMesh) -> bytes:
    """A frame with its length. Raises ControlError if it is too long."""
    text = frame.model_dump_json(exclude_defaults=True).encode()
    text = b'{"kind":"%b"%b' % (frame.kind.encode(), b"}" if text == b"{}" else b"," + text[1:])
    if len(text) > MAX_FRAME_BYTES:
        message = f"a {frame.kind} frame has {len(text)} bytes, {MAX_FRAME_BYTES} are the most"
        raise ControlError(message, remedy="Split the table")
    return len(text).to_bytes(_LENGTH, "big") + text


def from_owner(text: bytes) -> FromOwner:
    """A frame of the owner. Raises ControlError."""
    try:
        return _FROM_OWNER.validate_json(text)
    except ValidationError as error:
        raise _nonsense(error) from error


def from_mesh(text: bytes) -> FromMesh:
    """A frame of the mesh. Raises ControlError."""
    try:
        return _FROM_MESH.validate_json(text)
    except ValidationError as error:
        raise _nonsense(error) from error


class Cutter:
    """Cuts what arrives into frames."""

    def __init__(self) -> None:
        self._buffer = bytearray()

    def take(self, chunk: bytes) -> Iterator[bytes]:
        """The frames that are whole now. Raises ControlError if one would be too long; nothing follows that."""
        self._buffer += chunk
        at = 0
        try:
            while len(self._buffer) - at >= _LENGTH:
                length = int.from_bytes(self._buffer[at : at + _LENGTH], "big")
                if length > MAX_FRAME_BYTES:
                    message = f"a frame of {length} bytes is announced, {MAX_FRAME_BYTES} are the most"
                    raise ControlError(message, remedy="Something else than the mesh speaks here")
                end = at + _LENGTH + length
                if len(self._buffer) < end:
                    return
                frame = bytes(self._buffer[at + _LENGTH : end])
                at = end
                yield frame
        finally:
            del self._buffer[:at]


def _nonsense(error: ValidationError) -> ControlError:
    return ControlError(f"a frame means nothing: {described(error)}", remedy="Start the hub again")
