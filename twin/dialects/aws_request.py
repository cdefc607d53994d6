"""What AWS's clients send to a shadow's topics: bytes in, a checked request or AWS's own words of refusal out. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any, Final

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from twin.errors import InvalidMessage
from twin.model import Section, Value
from twin.wire.codec import load_json

MAX_PAYLOAD_BYTES: Final = 128 * 1024
MAX_TOKEN_BYTES: Final = 64
MAX_LEVELS: Final = 8


class Rejected(Exception):
    """A request that is answered with a code and a text of AWS's."""

    def __init__(self, code: int, message: str, token: str | None = None) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.token = token
        """The client token to send back."""


@dataclass(frozen=True, slots=True)
class Update:
    """An update: for each section that is named an object to merge, or None to remove it; the state as it came."""

    state: Value
    sections: dict[Section, dict[str, Value] | None]
    payload_bytes: int
    version: int | None = None
    token: str | None = None


class _State(BaseModel):
    model_config = ConfigDict(extra="forbid")

    desired: dict[str, Any] | None = None
    reported: dict[str, Any] | None = None


class _Update(BaseModel):
    state: _State | None
    version: Annotated[int, Field(strict=True, ge=0)] | None = None


def read_update(payload: bytes) -> Update:
    """Read an update. Raises Rejected."""
    tree = _tree(payload)
    token = _token(tree)
    try:
        request = _Update.model_validate(tree)
    except ValidationError as error:
        raise Rejected(400, _said_of(error), token) from None
    state = request.state
    if state is None:
        return Update(None, dict.fromkeys(Section), len(payload), request.version, token)
    sections = {Section(name): getattr(state, name) for name in ("desired", "reported") if name in tree["state"]}
    for section in sections.values():
        if (flaw := _flaw(section or {}, MAX_LEVELS)) is not None:
            raise Rejected(400, flaw, token)
    return Update(tree["state"], sections, len(payload), request.version, token)


def read_token(payload: bytes) -> str | None:
    """The client token of a get or delete, whose content is ignored otherwise. Raises Rejected."""
    if not payload:
        return None
    try:
        tree = _tree(payload)
    except Rejected as rejected:
        if rejected.code == 413:
            raise
        return None
    return _token(tree)


def _tree(payload: bytes) -> dict[str, Any]:
    if len(payload) > MAX_PAYLOAD_BYTES:
        raise Rejected(413, "The payload exceeds the maximum size allowed")
    try:
        payload.decode()
    except UnicodeDecodeError:
        raise Rejected(415, "Unsupported documented encoding; supported encoding is UTF-8") from None
    try:
        tree = load_json(payload, what="Invalid JSON")
    except InvalidMessage as error:
        raise Rejected(400, error.message) from None
    except RecursionError:
        raise Rejected(400, _TOO_DEEP) from None
    except ValueError:
        raise Rejected(400, "Invalid JSON") from None
    if not isinstance(tree, dict):
        raise Rejected(400, "Invalid JSON")
    return tree


def _token(tree: dict[str, Any]) -> str | None:
    token = tree.get("clientToken")
    if token is None:
        return None
    if not isinstance(token, str) or len(token.encode(errors="replace")) > MAX_TOKEN_BYTES:
        raise Rejected(400, "Invalid clientToken")
    try:
        token.encode()
    except UnicodeEncodeError:  # half a surrogate pair cannot be sent back
        raise Rejected(400, "Invalid clientToken") from None
    return token


def _said_of(error: ValidationError) -> str:
    problem = error.errors(include_url=False, include_input=False)[0]
    match problem["loc"]:
        case ("state",):
            return "Missing required node: state" if problem["type"] == "missing" else "State node must be an object"
        case ("state", "desired" | "reported" as section, *_):
            return f"{str(section).capitalize()} node must be an object"
        case ("state", *_):
            return "State contains an invalid node"
        case _:
            return "Invalid version"


def _flaw(value: Value, levels: int) -> str | None:
    """What AWS refuses within a section, whose keys are the first level; None if nothing."""
    if not isinstance(value, dict | list):
        return None
    if value and not levels:
        return _TOO_DEEP
    if isinstance(value, list) and None in value:
        return "State contains an invalid node"
    inner = value.values() if isinstance(value, dict) else value
    return next((flaw for one in inner if (flaw := _flaw(one, levels - 1)) is not None), None)


_TOO_DEEP: Final = f"JSON contains too many levels of nesting; maximum is {MAX_LEVELS}"
