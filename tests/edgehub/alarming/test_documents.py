"""AlarmRule documents as rules: what is left out, and what is said."""

from __future__ import annotations

import pytest

from edgehub.alarming.documents import rules_of, subjects_of
from edgehub.alarming.own import InForce
from edgehub.alarming.rule import EVERY, Metric, Operator, Subject
from edgehub.mesh import alarms
from mesh.model.alarms import AlarmMetric
from twin.alarm import Severity
from twin.manifest.catalog import RegistryView, applied
from twin.manifest.read import read_documents
from twin.manifest.yaml import Source
from twin.model import Kind, TwinKey, TwinSpec

pytestmark = pytest.mark.fast

HEAD = "apiVersion: edgetwin.dev/v1\nkind: AlarmRule\nmetadata: {name: NAME, namespace: PLACE}\nspec: "
SERVICE = """
apiVersion: v1
kind: Service
metadata: {name: web, namespace: PLACE, labels: {tier: front}}
spec: {ports: [{port: 80}], selector: {app: web}}
"""


def view(*texts):
    manifest = read_documents([Source("rules.yaml", "\n---\n".join(texts).encode())])
    return applied(RegistryView(), manifest.documents, lambda: "u")[0]


def written(spec, name="hot", place="plant"):
    return HEAD.replace("NAME", name).replace("PLACE", place) + spec


def rule(spec, **place):
    (found,) = rules_of(view(written(spec, **place)))
    return found


def test_a_rule_over_a_property_says_all():
    found = rule(
        "{twin: {kind: pod, matchLabels: {hall: north}}, property: t, operator: '<', threshold: 5, hysteresis: 2,"
        " for: 30s, keepFiringFor: 1m, severity: critical, summary: too cold}"
    )
    assert str(found) == "plant/hot"
    assert (found.selector.kind, found.selector.namespace, found.selector.labels) == (
        "pod",
        "plant",
        (("hall", "north"),),
    )
    assert (found.metric, found.property, found.operator) == (Metric.PROPERTY, "t", Operator.UNDER)
    assert (found.threshold, found.hysteresis, found.for_s, found.keep_s) == (5, 2, 30, 60)
    assert (found.severity, found.summary) == (Severity.CRITICAL, "too cold")


def test_what_is_left_out_is_as_one_expects():
    found = rule("{property: mode, operator: ==, threshold: open}")
    assert (found.selector.kind, found.selector.namespace, found.selector.name) == ("device", "plant", "")
    assert (found.threshold, found.for_s, found.keep_s, found.severity) == ("open", 0, 5, Severity.WARNING)
    assert rule("{property: mode, operator: ==, threshold: true}").threshold is True
    assert rule("{property: t, threshold: 5, for: 1m}").keep_s == 60


@pytest.mark.parametrize(
    ("metric", "kind"), [("deviceSilent", "device"), ("podCrashLoop", "pod"), ("clockInDoubt", "gateway")]
)
def test_a_metric_says_what_it_is_about(metric, kind):
    found = rule(f"{{metric: {metric}}}", place="default")
    assert (found.metric, found.selector.kind) == (Metric(metric), kind)


def test_a_device_is_given_a_time_only_by_a_document():
    found = rule("{metric: deviceSilent, after: 5m}")
    assert (found.after_s, found.body().when) == (300, "deviceSilent after 300 s")
    assert rule("{metric: deviceSilent}").after_s == 0
    assert not any(one.after_s for one in InForce(()).all)


def test_a_rule_for_every_namespace_and_one_that_is_switched_off():
    found = rule("{twin: {namespace: '*'}, enabled: false}", name="device-silent", place="default")
    assert (found.selector.namespace, found.enabled) == (EVERY, False)
    in_force = InForce([found])
    assert [one for one in in_force.all if one.name == "device-silent"] == [found]
    assert not in_force.looks_at(found, Subject("device", "plant", "a"))
    here = rule("{enabled: false}", name="device-silent")
    own = next(one for one in InForce([here]).all if one.own and one.name == "device-silent")
    assert not InForce([here]).looks_at(own, Subject("device", "plant", "a"))
    assert InForce([here]).looks_at(own, Subject("device", "hall", "a"))


def test_a_rule_of_services_is_judged_by_the_mesh():
    both = view(written("{service: {}, metric: p99Ms, threshold: 500, for: 10s}"), SERVICE.replace("PLACE", "plant"))
    (found,) = rules_of(both)
    assert (found.metric, found.selector.kind, found.for_s, found.grace_s) == (Metric.MESH, "service", 0, 10)
    slow, breaker = alarms.rules_of(both)
    assert (slow.key, slow.metric, slow.threshold, slow.for_ms) == ("plant/hot", AlarmMetric.P99_MS, 500, 10_000)
    assert (breaker.key, breaker.metric, [str(one) for one in breaker.services]) == (
        "default/breaker-open",
        AlarmMetric.BREAKER_OPEN,
        ["plant/web"],
    )


def test_the_mesh_is_told_of_no_other_rules_and_of_none_that_is_off():
    texts = [SERVICE.replace("PLACE", "plant"), SERVICE.replace("PLACE", "hall")]
    texts += [written("{property: t, threshold: 5}"), written("{metric: deviceSilent}", name="quiet")]
    texts += [written("{service: {}, metric: noEndpoint, enabled: false}", name="nobody")]
    texts += [written("{service: {}, metric: breakerOpen, for: 1m}", name="breaker-open")]
    own, rest = alarms.rules_of(view(*texts))
    assert (own.key, [str(one) for one in own.services]) == ("plant/breaker-open", ["plant/web"])
    assert (rest.key, [str(one) for one in rest.services]) == ("default/breaker-open", ["hall/web"])
    assert alarms.rules_of(view(written("{metric: deviceSilent}"))) == ()


def test_twins_of_this_gateway_and_services_are_what_alarms_are_about():
    spec = TwinSpec(TwinKey(Kind.DEVICE, "plant", "boiler"), "u", labels=(("hall", "north"),))
    ours = TwinSpec(TwinKey(Kind.DEVICE, "plant", "pump"), "u", gateway="gw-1")
    theirs = TwinSpec(TwinKey(Kind.DEVICE, "plant", "fan"), "u", gateway="gw-2")
    found = dict(subjects_of(view(SERVICE.replace("PLACE", "plant")), [spec, ours, theirs], "gw-1"))
    assert found == {
        Subject("device", "plant", "boiler"): {"hall": "north"},
        Subject("device", "plant", "pump"): {},
        Subject("service", "plant", "web"): {"tier": "front"},
    }
