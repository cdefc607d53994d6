"""Writes docs/schemas/*.json from the models: one file a message of the wire, a kind of document, the settings.

Run it after a change of a model: ``.venv/bin/python tools/schemas.py``. A test compares the files with the models.
"""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any, Final

from pydantic import BaseModel
from pydantic.json_schema import GenerateJsonSchema, JsonSchemaValue
from pydantic_core import core_schema

from cloudsync.settings import CloudSettings
from edgehub.settings import Settings
from mappers.sdk.config import HostSettings
from twin.alarm import AlarmTwin, RuleBody
from twin.manifest import kube, kube_network, pushes, workloads
from twin.manifest.fields import Deadband
from twin.manifest.kinds import KINDS, OURS
from twin.manifest.mesh_rules import MESH_KINDS
from twin.model import NAME, PROPERTY, Drop, Keep
from twin.release import Release, ReleaseReport, Running
from twin.wire import api, cloud_api, enrolment, mesh, messages, peers, push, sync_bodies

FOLDER: Final = Path(__file__).resolve().parents[1] / "docs" / "schemas"

MESSAGES: Final[tuple[type[BaseModel], ...]] = (
    messages.Report,
    messages.Ack,
    messages.Delta,
    messages.MapperState,
    HostSettings,
    api.Reply,
    api.GetRequest,
    api.TwinList,
    api.SetRequest,
    api.SetReply,
    api.QueryRequest,
    api.QueryReply,
    api.WatchRequest,
    api.WatchEvent,
    api.ExplainRequest,
    api.ExplainReply,
    api.HistoryRequest,
    api.HistoryReply,
    api.ApplyRequest,
    api.ApplyReply,
    api.StatusRequest,
    api.StatusReply,
    mesh.MeshRequest,
    mesh.MeshReply,
    mesh.RouteTwin,
    mesh.Alert,
    AlarmTwin,
    RuleBody,
    push.PushedReading,
    push.PushedBatch,
    Release,
    Running,
    ReleaseReport,
    cloud_api.CloudStatusReply,
    cloud_api.SetWhereRequest,
    cloud_api.SetWhereReply,
    cloud_api.KeepWatchRequest,
    cloud_api.AuditRequest,
    cloud_api.AuditReply,
    cloud_api.WorkloadsRequest,
    cloud_api.WorkloadsReply,
    peers.MeshEndpoints,
    peers.MeshVotes,
    sync_bodies.SyncHello,
    sync_bodies.SyncWelcome,
    sync_bodies.SyncRefusal,
    sync_bodies.SyncFrame,
    sync_bodies.SyncAck,
    sync_bodies.SyncDigests,
    sync_bodies.SyncTwins,
    sync_bodies.SyncDocumentDigests,
    sync_bodies.SyncDocuments,
    sync_bodies.SyncHistory,
    sync_bodies.SyncHistoryAck,
    sync_bodies.SyncCommand,
    sync_bodies.SyncCommandDone,
    sync_bodies.SyncAlive,
    sync_bodies.SyncAsk,
    enrolment.JoinToken,
    enrolment.JoinRequest,
    enrolment.RenewRequest,
    enrolment.Enrolled,
)

KUBERNETES: Final = {**kube.KINDS, **kube_network.KINDS, **workloads.KINDS, **MESH_KINDS, **pushes.KINDS}

_DURATION: Final = {
    "description": (
        "a duration such as 500ms, 10s, 5m, 1h30m, 7d; a plain number is milliseconds, from 1000000 up nanoseconds"
    ),
    "anyOf": [
        {"type": "string", "pattern": r"^([0-9]+(\.[0-9]+)?(ms|s|m|h|d)){1,5}$"},
        {"type": "number", "minimum": 0},
    ],
}
_NUMBER_OR_TEXT: Final = {"description": "a number; KubeEdge writes it as a string", "type": ["number", "string"]}
_WRITTEN: Final[dict[str, dict[str, Any]]] = {
    "_duration_ms": _DURATION,
    "_limit": _NUMBER_OR_TEXT,
    "_tolerance": _NUMBER_OR_TEXT,
    "_deadband": {
        "description": 'in units of the property, or percent of its range as "2%"',
        "anyOf": [{"type": "number", "minimum": 0}, {"type": "string"}],
    },
    "_memory_bytes": {
        "description": "bytes, or a size such as 256Mi",
        "anyOf": [{"type": "integer"}, {"type": "string", "pattern": r"^[0-9]+(\.[0-9]+)?(Ki|Mi|Gi|k|M|G)?$"}],
    },
    "_cpu": {
        "description": 'processor cores such as 0.5, or thousandths of one such as "500m"',
        "anyOf": [{"type": "number"}, {"type": "string", "pattern": r"^[0-9]+(\.[0-9]+)?m?$"}],
    },
    "_bytes": {
        "description": "bytes, or a size such as 64Mi",
        "anyOf": [{"type": "number"}, {"type": "string", "pattern": r"^[0-9]+(\.[0-9]+)?(k|M|G|T|Ki|Mi|Gi|Ti)?$"}],
    },
    "_keep": {"description": "in any case", "enum": [one.value for one in Keep]},
    "_drop": {"description": "in any case", "enum": [one.value for one in Drop]},
    "_name": {"type": "string", "pattern": f"^{NAME.pattern}$"},
    "_property_name": {"type": "string", "pattern": f"^{PROPERTY.pattern}$"},
}
"""What people write where a field reads more than it keeps, by the name of the field's reader."""


class WrittenSchema(GenerateJsonSchema):
    """The schema of what is written in a file, not of what it becomes."""

    def function_before_schema(self, schema: core_schema.BeforeValidatorFunctionSchema) -> JsonSchemaValue:
        """Describe a field by its reader."""
        written = _WRITTEN.get(getattr(schema["function"]["function"], "__name__", ""))
        return dict(written) if written else super().function_before_schema(schema)

    def encode_default(self, dft: Any) -> Any:
        """Write a default as a person would."""
        return 0 if dft == Deadband() else super().encode_default(dft)


def schemas() -> dict[str, dict[str, Any]]:
    """Every schema by its file name."""
    found = {f"{_kebab(model.__name__)}.json": _titled(model.model_json_schema(), model) for model in MESSAGES}
    for (version, kind), envelope in KINDS.items():
        if version == OURS:
            found[f"{_kebab(kind)}-document.json"] = _document(kind, envelope)
    for (_, kind), envelope in KUBERNETES.items():
        found[f"{_kebab(kind)}-document.json"] = _document(kind, envelope)
    found["settings.json"] = _titled(Settings.model_json_schema(), Settings)
    found["cloud-settings.json"] = _titled(CloudSettings.model_json_schema(), CloudSettings)
    return found


def text_of(schema: dict[str, Any]) -> str:
    """The file's text."""
    return json.dumps(schema, indent=2, ensure_ascii=False, sort_keys=True) + "\n"


def main() -> None:
    """Write every file, and remove those that no model gives."""
    wanted = schemas()
    FOLDER.mkdir(parents=True, exist_ok=True)
    for old in FOLDER.glob("*.json"):
        if old.name not in wanted:
            old.unlink()
    for name, schema in wanted.items():
        (FOLDER / name).write_text(text_of(schema), encoding="utf-8")


def _document(kind: str, envelope: type[BaseModel]) -> dict[str, Any]:
    schema = _titled(envelope.model_json_schema(schema_generator=WrittenSchema), envelope)
    schema["title"] = kind
    schema["properties"]["kind"] = {"const": kind}
    versions = [version for version, known in (*KINDS, *KUBERNETES) if known == kind]
    schema["properties"]["apiVersion"] = {"enum": versions}
    return schema


def _titled(schema: dict[str, Any], model: type[BaseModel]) -> dict[str, Any]:
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", "title": model.__name__, **schema}


def _kebab(name: str) -> str:
    return re.sub(r"(?<!^)(?=[A-Z][a-z]|(?<=[a-z])[A-Z])", "-", name).lower()


if __name__ == "__main__":
    main()
