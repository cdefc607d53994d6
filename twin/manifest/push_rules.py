"""What must hold inside a Push and KubeEdge's ``pushMethod`` beyond the types of their fields. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Final

from pydantic import ValidationError

from twin.manifest.document import Document
from twin.manifest.explain import explained
from twin.manifest.kinds import DeviceSpec
from twin.manifest.problems import KeyPath, Problem
from twin.manifest.push_methods import InvalidPushMethod, not_served, push_methods
from twin.manifest.pushes import BUILT_IN, EVERYWHERE, MIN_BUFFER_BYTES, PushSpec, Secret
from twin.model import NAME, NAME_RULE

OWN_NAMES: Final = "kubeedge-"


def broken_push(document: Document) -> Iterator[Problem]:
    """Find what is wrong in a Push. The config of a type that others install is checked where it runs."""
    spec = document.spec
    assert isinstance(spec, PushSpec)
    if document.name.startswith(OWN_NAMES):
        text = f"the name {document.name} is reserved"
        yield document.problem(("metadata", "name"), text, f"Names that begin with {OWN_NAMES} are of pushMethod.")
    model = BUILT_IN.get(spec.type)
    if model is not None:
        try:
            said = model.model_validate(spec.config)
        except ValidationError as error:
            origin = document.origin
            yield from explained(error, model, replace(origin, root=(*origin.root, "spec", "config")))
        else:
            for name in type(said).model_fields:
                secret = getattr(said, name)
                if isinstance(secret, Secret) and (secret.file is None) == (secret.env is None):
                    remedy = "Write {file: /path} or {env: NAME}."
                    yield document.problem(("spec", "config", name), "a secret is in one place", remedy)
    if spec.buffer.max_bytes < MIN_BUFFER_BYTES:
        yield document.problem(("spec", "buffer", "maxBytes"), "the buffer is below 1Mi", "Write 1Mi or more.")
    for place, value in (("timeout", spec.timeout_ms), ("buffer.maxAge", spec.buffer.max_age_ms)):
        if not value:
            path: KeyPath = ("spec", *place.split("."))
            yield document.problem(path, f"{path[-1]} is nothing", "Write a duration such as 10s.")
    for index, namespace in enumerate(spec.select.namespaces):
        if namespace != EVERYWHERE and NAME.fullmatch(namespace) is None:
            text = f"{namespace} is not a namespace"
            path = ("spec", "select", "namespaces", index)
            yield document.problem(path, text, f'Use {NAME_RULE}, or "*" for all.')


def doubtful_push_methods(document: Document, spec: DeviceSpec) -> Iterator[Problem]:
    """Find what KubeEdge pushes to and we do not, and what cannot be carried out. The device serves all the same."""
    for index, one in enumerate(spec.properties):
        said, above = one.push_method or {}, ("spec", "properties", index, "pushMethod")
        for path in not_served(said):
            text = f"{path[-1]} is kept and has no effect: nothing is pushed there"
            remedy = "Push by http, mqtt, otel or influxdb2, or write a push of your own."
            yield document.problem((*above, *path), text, remedy)
        try:
            list(push_methods(said))
        except InvalidPushMethod as error:
            yield document.problem((*above, *error.path), f"{error.text}; nothing is pushed", error.remedy)
