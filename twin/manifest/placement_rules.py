"""What must hold in what documents tell the cloud's scheduler: labels, tolerations, the rule for a cut line. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Final

from twin.manifest.fields import parsed_duration_ms, shown_value
from twin.manifest.kube import Toleration
from twin.manifest.kube_fields import RestartPolicy
from twin.manifest.problems import KeyPath, Problem
from twin.manifest.workloads import CUT_OFF_TAINTS, MOVE_AFTER, WHEN_CUT_OFF, DeploymentSpec, GatewaySpec
from twin.model import DEFAULT_NAMESPACE

if TYPE_CHECKING:
    from twin.manifest.document import Document

_WORDS: Final = ("keep", "move")


def broken_deployment(document: Document, spec: DeploymentSpec) -> Iterator[Problem]:
    """Find what is wrong in a Deployment beside its template's containers."""
    labels, wanted = spec.template.metadata.labels, spec.selector.match_labels
    if not wanted:
        path: KeyPath = ("spec", "selector", "matchLabels")
        yield document.problem(path, "a Deployment selects by one label or more", "Add one, such as app: shop.")
    for name, value in wanted.items():
        if labels.get(name) != value:
            text = f"the template's pods have no label {name}: {value}"
            remedy = "Give spec.template.metadata.labels what spec.selector.matchLabels asks for."
            yield document.problem(("spec", "selector", "matchLabels", name), text, remedy)
    if spec.template.spec.restart_policy is not RestartPolicy.ALWAYS:
        path = ("spec", "template", "spec", "restartPolicy")
        text = "a pod of a Deployment is one that always runs"
        yield document.problem(path, text, "Leave it out, or apply a Pod of its own.")
    strategy = spec.strategy
    if strategy.rolling_update is not None:
        path = ("spec", "strategy", "rollingUpdate")
        if strategy.type == "Recreate":
            yield document.problem(path, "Recreate knows no rolling update", "Leave it out.")
        elif {strategy.rolling_update.max_surge, strategy.rolling_update.max_unavailable} <= {0, "0%"}:
            text = "with no pod too many and none missing nothing can be exchanged"
            yield document.problem(path, text, "Let maxSurge or maxUnavailable be 1 or more.")


def broken_gateway(document: Document, spec: GatewaySpec) -> Iterator[Problem]:
    """Find what is wrong in a Gateway."""
    if document.namespace != DEFAULT_NAMESPACE:
        text = "gateways have no namespace"
        yield document.problem(("metadata", "namespace"), text, "Leave it out.")
    seen: set[tuple[str, str]] = set()
    for index, taint in enumerate(spec.taints):
        if (taint.key, taint.effect) in seen:
            text = f"the taint {taint.key} with {taint.effect} is there twice"
            yield document.problem(("spec", "taints", index), text, "Keep one of the two.")
        seen.add((taint.key, taint.effect))


def broken_placement(
    document: Document,
    annotations: Mapping[str, str],
    tolerations: Sequence[Toleration],
    above: KeyPath,
    spec: KeyPath,
) -> Iterator[Problem]:
    """Find what is wrong in the annotations and tolerations of a pod; ``above`` and ``spec`` say where they stand."""
    at: KeyPath = (*above, "metadata", "annotations")
    word, after = annotations.get(WHEN_CUT_OFF), annotations.get(MOVE_AFTER)
    if word is not None and word not in _WORDS:
        text = f"{shown_value(word)} is not known"
        yield document.problem((*at, WHEN_CUT_OFF), text, f"Write {' or '.join(_WORDS)}.")
    if after is not None and not parsed_duration_ms(after):
        text = f"{shown_value(after)} is not a duration above nothing"
        yield document.problem((*at, MOVE_AFTER), text, "Write 30s, 5m or 1h.")
    if word == "keep" and after is not None:
        yield document.problem((*at, MOVE_AFTER), "a pod that is kept never moves", "Leave one of the two out.")
    for index, one in enumerate(tolerations):
        path: KeyPath = (*spec, "tolerations", index)
        if not one.key and one.operator != "Exists":
            text = "a toleration without a key is one of every taint"
            yield document.problem((*path, "operator"), text, "Write operator: Exists, or name the key.")
        if one.operator == "Exists" and one.value:
            yield document.problem((*path, "value"), "Exists fits every value", "Leave the value out.")
        if one.toleration_seconds is None:
            continue
        if one.key not in CUT_OFF_TAINTS:
            text = f"only {CUT_OFF_TAINTS[0]} is tolerated for a while"
            yield document.problem((*path, "tolerationSeconds"), text, "Leave it out.")
        elif word is not None or after is not None:
            text = f"the annotations say when the pod moves, and this as well ({one.toleration_seconds} s)"
            yield document.problem((*path, "tolerationSeconds"), text, "Keep one of the two.")
        elif not one.toleration_seconds:
            text = "a pod cannot move the moment that its gateway is silent"
            yield document.problem((*path, "tolerationSeconds"), text, "Write the seconds, 1 or more.")
