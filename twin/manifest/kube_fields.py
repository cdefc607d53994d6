"""The field types of Kubernetes' own kinds: quantities, paths, base64 and references to the pod's own fields."""

from __future__ import annotations

import base64
import binascii
import re
from enum import StrEnum
from pathlib import PurePosixPath
from typing import Annotated, Final

from pydantic import BeforeValidator, Field, StrictInt
from pydantic_core import PydanticCustomError

from twin.manifest.fields import REFUSED, choice, matching, refuse
from twin.model import NAME

MAX_BYTES: Final = 1024 * 1024
"""Of one ConfigMap or Secret, as in Kubernetes."""

SEALED: Final = "sealed:1:"
"""Begins a value of a Secret that is encrypted with the key of where it is kept; ``:`` is no letter of base64."""
SENT: Final = "sealed:2:"
"""Begins one that the cloud has encrypted for the one gateway that is to read it."""

_ENV_NAME: Final = re.compile(r"[A-Za-z_.-][A-Za-z0-9_.-]*")
_KEY: Final = re.compile(r"(?!\.\.)[A-Za-z0-9_.-]{1,253}")
_CPU: Final = re.compile(r"([0-9]{1,6}(?:\.[0-9]{1,3})?)(m?)")
_BYTES: Final = re.compile(r"([0-9]{1,18}(?:\.[0-9]{1,3})?)(k|M|G|T|Ki|Mi|Gi|Ti)?")
_FIELD: Final = re.compile(
    r"metadata\.(name|namespace|uid|(labels|annotations)\['[A-Za-z0-9./_-]{1,317}'\])|spec\.nodeName"
)
_SIZES: Final = {
    "": 1,
    **{unit: 1000**power for power, unit in enumerate("kMGT", 1)},
    **{f"{unit}i": 1024**power for power, unit in enumerate("KMGT", 1)},
}


class RestartPolicy(StrEnum):
    """When a container that has ended starts again."""

    ALWAYS = "Always"
    ON_FAILURE = "OnFailure"
    NEVER = "Never"


class Engine(StrEnum):
    """What runs a pod."""

    PROCESS = "process"
    PODMAN = "podman"


class PullPolicy(StrEnum):
    """When an image is read again."""

    IF_NOT_PRESENT = "IfNotPresent"
    ALWAYS = "Always"
    NEVER = "Never"


def _restart(value: object) -> RestartPolicy:
    return choice(RestartPolicy, value)


def _pull(value: object) -> PullPolicy:
    return choice(PullPolicy, value)


def _env_name(value: object) -> object:
    return matching(value, _ENV_NAME, "letters, digits and _ . -, with no digit at the start")


def _key(value: object) -> object:
    return matching(value, _KEY, "1 to 253 characters A-Z, a-z, 0-9 and _ . -, not .. at the start")


def _field_path(value: object) -> object:
    if isinstance(value, str) and _FIELD.fullmatch(value) is None:
        remedy = (
            "Supported are metadata.name, metadata.namespace, metadata.uid, metadata.labels['key'],"
            " metadata.annotations['key'] and spec.nodeName."
        )
        refuse(value, "is not a field that a container can be told", remedy)
    return value


def _cpu(value: object) -> int:
    match = _CPU.fullmatch(_written(value))
    milli = round(float(match[1]) * (1 if match[2] else 1000)) if match else 0
    if milli <= 0:
        refuse(value, "is not an amount of CPU above nothing", "Write cores, such as 0.5 or 500m.")
    return milli


def _bytes(value: object) -> int:
    match = _BYTES.fullmatch(_written(value))
    size = round(float(match[1]) * _SIZES[match[2] or ""]) if match else 0
    if size <= 0:
        refuse(value, "is not a size above nothing", "Write bytes, such as 64Mi or 500M.")
    return size


def _written(value: object) -> str:
    return str(value) if isinstance(value, str | int | float) and not isinstance(value, bool) else ""


def _absolute(value: object) -> object:
    if isinstance(value, str):
        path = PurePosixPath(value)
        if not path.is_absolute() or ".." in path.parts or "\0" in value or len(value) > 4096:
            refuse(value, "is not an absolute path", "Write a path from the root, without .., such as /var/lib/app.")
    return value


def _below(value: object) -> object:
    if isinstance(value, str):
        path = PurePosixPath(value)
        if not value or path.is_absolute() or ".." in path.parts or "\0" in value:
            refuse(value, "is not a path inside the volume", "Write a relative path without .., such as conf/app.ini.")
    return value


def _base64(value: object) -> object:
    if isinstance(value, str):
        try:
            base64.b64decode("".join(value.split()), validate=True)
        except (binascii.Error, ValueError):
            remedy = "Encode it with base64, or write plain text in stringData (a ConfigMap: data)."
            raise PydanticCustomError(REFUSED, "{text}", {"text": "it is not base64", "remedy": remedy}) from None
    return value


def _probe_port(value: object) -> object:
    named = isinstance(value, str) and NAME.fullmatch(value)
    if not named and not (type(value) is int and 1 <= value <= 65535):
        refuse(value, "is not a port", "Write its number, or its name in ports.")
    return value


def _secret_text(value: object) -> object:
    sealed = isinstance(value, str) and value.startswith((SEALED, SENT))
    return value if sealed else _base64(value)


EnvName = Annotated[str, BeforeValidator(_env_name), Field(examples=["LOG_LEVEL"])]
Key = Annotated[str, BeforeValidator(_key), Field(examples=["app.ini"])]
FieldPath = Annotated[str, BeforeValidator(_field_path), Field(examples=["metadata.name"])]
MilliCpu = Annotated[int, BeforeValidator(_cpu), Field(examples=["500m"])]
Bytes = Annotated[int, BeforeValidator(_bytes), Field(examples=["64Mi"])]
AbsolutePath = Annotated[str, BeforeValidator(_absolute), Field(examples=["/var/lib/app"])]
RelativePath = Annotated[str, BeforeValidator(_below), Field(examples=["app.ini"])]
Base64 = Annotated[str, BeforeValidator(_base64), Field(examples=["c2VjcmV0"])]
SecretText = Annotated[str, BeforeValidator(_secret_text), Field(examples=["c2VjcmV0"])]
Restart = Annotated[RestartPolicy, BeforeValidator(_restart), Field(examples=["OnFailure"])]
Pull = Annotated[PullPolicy, BeforeValidator(_pull), Field(examples=["IfNotPresent"])]
PortNumber = Annotated[StrictInt, Field(ge=1, le=65535, examples=[8080])]
ProbePort = Annotated[int | str, BeforeValidator(_probe_port), Field(examples=[8080])]
Count = Annotated[StrictInt, Field(ge=1, le=1_000_000, examples=[3])]
Seconds = Annotated[StrictInt, Field(ge=0, le=31_622_400, examples=[30])]
