"""`edgetwin mapper schema`: what may be written in a mapper's connection, device and points, as JSON schema."""

from __future__ import annotations

import json
from enum import StrEnum
from typing import Annotated, Any

import typer
from pydantic import BaseModel
from pydantic.json_schema import models_json_schema

from edgehub.commands.session import ExitCode, print_error
from mappers.sdk import Capability, Mapper
from mappers.sdk.errors import InvalidSettings
from mappers.sdk.registry import Registry


class Part(StrEnum):
    """Which settings of a mapper."""

    CONNECTION = "connection"
    DEVICE = "device"
    POINT = "point"
    SCAN = "scan"


def schema(
    protocol: Annotated[str, typer.Argument(help="name of an installed mapper")],
    kind: Annotated[
        Part | None, typer.Option(help="Only the settings of the connection, the device, a point, or a scan.")
    ] = None,
) -> None:
    """Print the JSON schema of a mapper's settings: of spec.config, spec.address and configData in documents.

    Exit code 4 if there is no such mapper, or it is broken.

    Example: edgetwin mapper schema modbus --kind point
    """
    try:
        mapper = Registry.installed().find(protocol)
    except InvalidSettings as error:
        print_error(error)
        raise typer.Exit(ExitCode.REFUSED) from None
    found = _whole(mapper) if kind is None else _schema(_models(mapper)[kind])
    typer.echo(json.dumps(found, indent=2, ensure_ascii=False))


def _models(mapper: Mapper) -> dict[Part, type[BaseModel]]:
    return {
        Part.CONNECTION: mapper.connection,
        Part.DEVICE: mapper.device,
        Part.POINT: mapper.point,
        Part.SCAN: mapper.scan,
    }


def _whole(mapper: Mapper) -> dict[str, Any]:
    """All of them as one schema with a property for each."""
    models = _models(mapper)
    if Capability.DISCOVER not in mapper.capabilities:
        del models[Part.SCAN]
    refs, shared = models_json_schema([(model, "validation") for model in models.values()])
    properties = {str(part): refs[model, "validation"] for part, model in models.items()}
    return {"$schema": _DRAFT, "title": mapper.name, "type": "object", "properties": properties, **shared}


def _schema(model: type[BaseModel]) -> dict[str, Any]:
    return {"$schema": _DRAFT, **model.model_json_schema()}


_DRAFT = "https://json-schema.org/draft/2020-12/schema"
