"""What is known of documents beside their content, as rows of the registry's file."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from edgehub.agreeing import Aside, Known
from twin.exchange import DocumentRef
from twin.manifest.problems import InvalidManifest, Problem
from twin.wire.codec import first_problem


class _AsideRow(BaseModel):
    model_config = ConfigDict(extra="forbid")

    uid: str = ""
    generation: Annotated[int, Field(ge=0)] = 0
    hash: str = ""
    raw: dict[str, Any] | None = None
    why: str = ""


class _KnownRow(BaseModel):
    model_config = ConfigDict(extra="forbid", populate_by_name=True)

    kind: str
    namespace: str
    name: str
    gone: list[str] = Field(default_factory=list)
    by_cloud: Annotated[bool, Field(alias="byCloud")] = False
    aside: _AsideRow | None = None


def rows_of(known: Mapping[DocumentRef, Known]) -> dict[str, dict[str, Any]]:
    """The rows, numbered."""
    return {str(number): _row(ref, known[ref]) for number, ref in enumerate(sorted(known), 1)}


def known_of(rows: Mapping[str, Any]) -> dict[DocumentRef, Known]:
    """What the rows say. Raises InvalidManifest."""
    found: dict[DocumentRef, Known] = {}
    for number, row in rows.items():
        try:
            read = _KnownRow.model_validate(row)
        except ValidationError as error:
            problem = Problem(f"known {number}", 0, "", first_problem(error))
            raise InvalidManifest([problem]) from None
        aside = None if read.aside is None else Aside(**read.aside.model_dump())
        ref = DocumentRef(read.kind, read.namespace, read.name)
        found[ref] = Known(frozenset(read.gone), read.by_cloud, aside)
    return found


def _row(ref: DocumentRef, known: Known) -> dict[str, Any]:
    aside = known.aside
    kept = None if aside is None else _AsideRow(**_fields(aside))
    row = _KnownRow(
        kind=ref.kind,
        namespace=ref.namespace,
        name=ref.name,
        gone=sorted(known.gone),
        by_cloud=known.by_cloud,
        aside=kept,
    )
    return row.model_dump(by_alias=True, exclude_defaults=True)


def _fields(aside: Aside) -> dict[str, Any]:
    raw = None if aside.raw is None else dict(aside.raw)
    return {"uid": aside.uid, "generation": aside.generation, "hash": aside.hash, "raw": raw, "why": aside.why}
