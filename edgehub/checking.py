"""Documents checked by themselves, as a hub without any others would check them. Pure but for the import of mappers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from edgehub.serving import protocol_problems
from mappers.sdk.checks import CheckedMappers
from twin.manifest.catalog import RegistryView, applied
from twin.manifest.document import Manifest
from twin.manifest.problems import InvalidManifest
from twin.manifest.read import read_documents
from twin.manifest.references import broken_references
from twin.manifest.yaml import Source


@dataclass(frozen=True, slots=True)
class Checked:
    """Documents without a fault, and what in them deserves a second look."""

    manifest: Manifest
    view: RegistryView


def checked(sources: Sequence[Source], mappers: CheckedMappers) -> Checked:
    """Read files and check every rule that an apply would. Raises InvalidManifest with every problem."""
    manifest = read_documents(sources)
    view, _ = applied(RegistryView(), manifest.documents, lambda: "")
    problems = [*broken_references(view), *protocol_problems(view, mappers)]
    if problems:
        raise InvalidManifest(sorted(problems, key=lambda problem: (problem.source, problem.line)))
    return Checked(manifest, view)
