"""Node ids and browse paths as people write them, checked before any server is asked. Pure.

ns=2;s=Pump.Speed      nsu=urn:plant:pumps;i=17      i=2258      2:Pump/2:Speed
"""

from __future__ import annotations

import base64
import binascii
import re
from typing import Final
from uuid import UUID

_NODE_ID: Final = re.compile(r"(?:ns=(?P<ns>\d{1,5});|nsu=(?P<uri>[^;]+);)?(?P<kind>[isgb])=(?P<rest>.+)", re.DOTALL)
_STEP: Final = re.compile(r"(?:(?P<ns>\d{1,5}):)?(?P<name>[^/]+)")
_EXAMPLE: Final = "for example ns=2;s=Pump.Speed or ns=2;i=17"


def checked_node_id(text: str) -> str:
    """The text, if it is a node id. Raises ValueError saying what is wrong with it, and how one looks."""
    found = _NODE_ID.fullmatch(text.strip())
    if found is None:
        message = f"{text!r} is not a node id; {_EXAMPLE}"
        raise ValueError(message)
    kind, rest = found["kind"], found["rest"]
    problem = ""
    if kind == "i" and not (rest.isascii() and rest.isdigit() and int(rest) < 2**32):
        problem = f"{rest!r} is not a number below 4294967296"
    elif kind == "g" and not _is_guid(rest):
        problem = f"{rest!r} is not a GUID"
    elif kind == "b" and not _is_base64(rest):
        problem = f"{rest!r} is not base64"
    elif found["ns"] and int(found["ns"]) > 65535:
        problem = f"namespace {found['ns']} is over 65535"
    if problem:
        message = f"node id {text!r}: {problem}; {_EXAMPLE}"
        raise ValueError(message)
    return text.strip()


def namespace_uri(text: str) -> str:
    """Namespace URI of a checked node id; empty if it names an index."""
    found = _NODE_ID.fullmatch(text)
    return (found["uri"] or "") if found else ""


def with_index(text: str, index: int) -> str:
    """A checked node id with a namespace URI, with the index that the server gives that URI."""
    found = _NODE_ID.fullmatch(text)
    assert found is not None
    return f"ns={index};{found['kind']}={found['rest']}"


def steps(path: str) -> tuple[tuple[int, str], ...]:
    """Browse path -> (namespace index, name) of each step. Raises ValueError."""
    found = [_STEP.fullmatch(part) for part in path.strip("/").split("/")]
    if not all(found):
        message = f"{path!r} is not a browse path; for example 2:Pump/2:Speed"
        raise ValueError(message)
    return tuple((int(step["ns"] or 0), step["name"]) for step in found if step)


def _is_guid(text: str) -> bool:
    try:
        UUID(text)
    except ValueError:
        return False
    return True


def _is_base64(text: str) -> bool:
    try:
        base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        return False
    return True
