"""No metric is undocumented, and the dashboards for Grafana ask only for metrics that there are."""

from __future__ import annotations

import json
import re

import pytest

from cloudsync.metrics import METRICS as CLOUD
from edgehub.metrics import METRICS as GATEWAY
from twin.metrics.model import MetricType

pytestmark = pytest.mark.fast

NAME = re.compile(r"\bedgetwin_[a-z_]+\b")
TYPES = {"timeseries", "stat"}


def series(metrics):
    """Every name that may stand in a query, with its labels."""
    found = {}
    for metric in metrics.values():
        ends = ("_bucket", "_sum", "_count") if metric.type is MetricType.HISTOGRAM else ("",)
        for end in ends:
            found[metric.name + end] = {*metric.labels, "instance", *(["le"] if end == "_bucket" else [])}
    return found


@pytest.mark.parametrize(("section", "metrics"), [("Of a gateway", GATEWAY), ("Of a cloud's worker", CLOUD)])
def test_the_page_lists_every_metric_and_no_other(pages, section, metrics):
    text = pages["docs/metrics.md"].text.split(f"## {section}\n")[1].split("\n## ")[0]
    rows = re.findall(r"^\| `(edgetwin_\w+)` \| (\w+) \| (.*?) \| (.+) \|$", text, re.MULTILINE)
    shown = {name: (kind, tuple(re.findall(r"`(\w+)`", labels)), words) for name, kind, labels, words in rows}
    assert shown == {name: (one.type.value, one.labels, one.help) for name, one in metrics.items()}


@pytest.mark.parametrize("metrics", [GATEWAY, CLOUD])
def test_names_say_their_type_and_unit(metrics):
    for name, metric in metrics.items():
        assert name.endswith("_total") is (metric.type is MetricType.COUNTER), name
        assert metric.help
        assert not metric.help.endswith(".")


@pytest.mark.parametrize(("place", "metrics"), [("gateway", GATEWAY), ("cloud", CLOUD)])
def test_a_dashboard_asks_for_what_there_is(root, place, metrics):
    board = json.loads((root / f"docs/examples/grafana-{place}.json").read_text())
    known = series(metrics)
    assert board["uid"] == f"edgetwin-{place}"
    assert board["schemaVersion"] >= 39
    ids = [panel["id"] for panel in board["panels"]]
    assert len(set(ids)) == len(ids)
    taken = set()
    asked = set()
    for panel in board["panels"]:
        at = panel["gridPos"]
        cells = {(x, y) for x in range(at["x"], at["x"] + at["w"]) for y in range(at["y"], at["y"] + at["h"])}
        assert at["x"] + at["w"] <= 24, panel["title"]
        assert not cells & taken, panel["title"]
        taken |= cells
        assert panel["type"] in TYPES
        assert len({one["refId"] for one in panel["targets"]}) == len(panel["targets"]) > 0
        for target in panel["targets"]:
            asked |= checked(target["expr"], target["legendFormat"], known)
    for variable in board["templating"]["list"]:
        if variable["type"] == "query":
            assert set(NAME.findall(variable["query"]["query"])) <= known.keys()
    assert {"${datasource}"} == {panel["datasource"]["uid"] for panel in board["panels"]}
    base = {name.removesuffix("_bucket").removesuffix("_count") for name in asked}
    rare = {"edgetwin_build_info", "edgetwin_process_open_files", "edgetwin_sync_state", "edgetwin_sync_since_seconds"}
    rare |= {"edgetwin_store_failed", "edgetwin_mapper_connected", "edgetwin_pod_ready", "edgetwin_child_running"}
    rare |= {"edgetwin_push_delivering"}
    assert set(metrics) - base <= rare  # what is there is worth a look


def checked(expression, legend, known):
    """The names in a query; its brackets match, its labels are those of the metrics, and counters stand in a rate."""
    for left, right in ("()", "[]", "{}"):
        assert expression.count(left) == expression.count(right), expression
    names = set(NAME.findall(expression))
    assert names
    assert names <= known.keys(), names - known.keys()
    labels = set.union(*(known[name] for name in names))
    used = set(re.findall(r"(\w+)=~?\"", expression)) | set(re.findall(r"{{(\w+)}}", legend))
    used |= {one.strip() for group in re.findall(r"by \(([^)]*)\)", expression) for one in group.split(",")}
    assert used <= labels, (expression, used - labels)
    for name in names:
        if name.endswith(("_total", "_bucket", "_count")):
            assert re.search(rf"(rate|increase)\({name}", expression), expression
    return names
