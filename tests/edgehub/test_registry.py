"""The registry applies whole sets or nothing, and keeps who a document is."""

from __future__ import annotations

import itertools
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from edgehub.registry import Registry
from twin.errors import StoreError
from twin.manifest.catalog import Action
from twin.manifest.document import Document, DocumentKind, Ref
from twin.manifest.problems import InvalidManifest
from twin.manifest.read import read_documents
from twin.manifest.yaml import Source

_MODEL = """
apiVersion: edgetwin.dev/v1
kind: DeviceModel
metadata: {name: boiler}
spec: {properties: [{name: setpoint, type: FLOAT, accessMode: ReadWrite, maximum: 95}]}
"""
_BUS = "apiVersion: edgetwin.dev/v1\nkind: Connection\nmetadata: {name: bus}\nspec: {mapper: modbus}\n"
_DEVICE = """
apiVersion: edgetwin.dev/v1
kind: Device
metadata: {name: boiler-1}
spec:
  deviceModelRef: {name: boiler}
  connection: bus
  properties: [{name: setpoint, desired: {value: 40}}]
"""
_ALL = f"{_MODEL}---\n{_BUS}---\n{_DEVICE}"
_BOILER = Ref(DocumentKind.DEVICE, "default", "boiler-1")
_MODEL_REF = Ref(DocumentKind.DEVICE_MODEL, "default", "boiler")


def _documents(text: str) -> tuple[Document, ...]:
    return read_documents([Source("site.yaml", text.encode())]).documents


def _opened(path: Path, **options) -> Registry:
    numbers = itertools.count(1)
    return Registry(path, new_uid=lambda: f"uid-{next(numbers)}", **options)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "registry.json"


@pytest.fixture
def registry(path: Path) -> Iterator[Registry]:
    with _opened(path) as registry:
        yield registry


def _actions(registry: Registry, text: str) -> list[Action]:
    return [change.action for change in registry.apply(_documents(text)).changes]


def test_what_is_applied_is_there_after_a_restart(path: Path) -> None:
    with _opened(path) as registry:
        assert _actions(registry, _ALL) == [Action.CREATED] * 3
        digest = registry.digest()
    with _opened(path) as registry:
        assert registry.digest() == digest
        stored = registry.get(DocumentKind.DEVICE, "default", "boiler-1")
        assert stored is not None
        assert (stored.uid, stored.generation) == ("uid-3", 1)
        assert stored.document == _documents(_DEVICE)[0]
        assert [one.ref.name for one in registry.all(DocumentKind.CONNECTION)] == ["bus"]


def test_the_generation_rises_with_each_change_of_spec_or_labels(registry: Registry) -> None:
    registry.apply(_documents(_ALL))
    assert _actions(registry, _ALL) == [Action.UNCHANGED] * 3
    labelled = _DEVICE.replace("name: boiler-1", "name: boiler-1, labels: {hall: north}")
    (change,) = registry.apply(_documents(labelled)).changes
    assert (change.action, change.generation) == (Action.UPDATED, 2)
    (change,) = registry.apply(_documents(labelled.replace("40", "41"))).changes
    assert (change.action, change.generation, change.uid) == (Action.UPDATED, 3, "uid-3")


def test_one_apply_is_one_write(path: Path, registry: Registry) -> None:
    registry.apply(_documents(_ALL))
    inode = path.stat().st_ino
    registry.apply(_documents(_ALL))
    assert path.stat().st_ino == inode


def test_a_dry_run_tells_and_writes_nothing(path: Path, registry: Registry) -> None:
    outcome = registry.apply(_documents(_ALL), dry_run=True)
    assert len(outcome.changed) == 3
    assert not path.exists()
    assert registry.all(DocumentKind.DEVICE) == ()


def test_a_problem_of_one_document_keeps_all_out(registry: Registry) -> None:
    with pytest.raises(InvalidManifest) as caught:
        registry.apply(_documents(f"{_MODEL}---\n{_DEVICE.replace('40', '99')}"))
    first, second = caught.value.problems
    assert str(first).startswith("site.yaml:14: spec.properties[0].desired.value: 99 is outside the limit")
    assert str(second).startswith("site.yaml:13: spec.connection: Device default/boiler-1 needs the Connection")
    assert registry.digest() == ()


def test_what_is_used_cannot_be_deleted(registry: Registry) -> None:
    registry.apply(_documents(_ALL))
    with pytest.raises(InvalidManifest, match=r"boiler-1: spec\.deviceModelRef\.name: .* does not exist"):
        registry.delete([_MODEL_REF])
    assert len(registry.delete([_MODEL_REF, _BOILER]).changed) == 2
    with pytest.raises(InvalidManifest, match="no such document"):
        registry.delete([_BOILER])


def test_a_model_cannot_change_under_a_device_that_no_longer_fits(registry: Registry) -> None:
    registry.apply(_documents(_ALL))
    with pytest.raises(InvalidManifest, match="40 is outside the limit"):
        registry.apply(_documents(_MODEL.replace("95", "30")))


def test_a_document_that_is_created_again_gets_a_new_uid(registry: Registry) -> None:
    registry.apply(_documents(_ALL))
    registry.delete([_BOILER])
    (change,) = registry.apply(_documents(_DEVICE)).changes
    assert (change.uid, change.generation) == ("uid-4", 1)


def test_given_checks_see_the_result_with_places_and_may_refuse_it(path: Path) -> None:
    def no_bus(view):
        for one in view.all(DocumentKind.CONNECTION):
            yield one.document.problem(("spec", "mapper"), "no bus here", "Use another.")

    with (
        _opened(path, checks=[no_bus]) as registry,
        pytest.raises(InvalidManifest, match=r"site\.yaml:10: spec\.mapper"),
    ):
        registry.apply(_documents(_ALL))


def test_a_diff_shows_each_change(registry: Registry) -> None:
    registry.apply(_documents(_ALL))
    device, bus = registry.diff(_documents(f"{_DEVICE.replace('40', '41')}---\n{_BUS}"))
    assert "-      value: 40\n+      value: 41\n" in device.text
    assert (bus.action, bus.text) == (Action.UNCHANGED, "")


def test_true_and_one_are_different_specs(registry: Registry) -> None:
    registry.apply(_documents(_BUS.replace("modbus}", "modbus, config: {a: 1}}")))
    assert _actions(registry, _BUS.replace("modbus}", "modbus, config: {a: true}}")) == [Action.UPDATED]


def test_a_closed_registry_takes_nothing(path: Path) -> None:
    with pytest.raises(StoreError, match="not open"):
        _opened(path).apply(_documents(_BUS))


def _edit(path: Path, change) -> None:
    document = json.loads(path.read_text())
    change(document["tables"]["documents"])
    path.write_text(json.dumps(document))
    os.utime(path, (1, 1))


def test_an_edit_by_hand_counts_as_an_apply(path: Path, caplog) -> None:
    with _opened(path) as registry:
        registry.apply(_documents(_ALL))

    def change(rows) -> None:
        by_kind = {row["kind"]: row for row in rows.values()}
        by_kind["Device"]["spec"]["properties"][0]["desired"]["value"] = 42
        rows["9"] = {**by_kind["Connection"], "metadata": {"name": "bus-2"}}

    _edit(path, change)
    with _opened(path) as registry:
        device = registry.get(DocumentKind.DEVICE, "default", "boiler-1")
        assert device is not None
        assert (device.uid, device.generation) == ("uid-3", 2)
        assert registry.get(DocumentKind.CONNECTION, "default", "bus-2") is not None
        digest = registry.digest()
    assert "was edited by hand" in caplog.text
    caplog.clear()
    with _opened(path) as registry:
        assert registry.digest() == digest
    assert caplog.text == ""


def test_an_edit_by_hand_that_breaks_a_reference_is_set_aside(path: Path, caplog) -> None:
    with _opened(path) as registry:
        registry.apply(_documents(_ALL))
        digest = registry.digest()
    _edit(path, lambda rows: rows.pop("1"))
    with _opened(path) as registry:
        assert registry.digest() == digest
    assert "needs the Connection default/bus, which does not exist" in caplog.text
    assert path.with_name("registry.json.corrupt-1").exists()


_ROUTE = """
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {name: shop}
spec:
  parentRefs: [{group: "", kind: Service, name: shop}]
  rules: [{backendRefs: [{name: shop, port: 80}]}]
---
apiVersion: v1
kind: Service
metadata: {name: shop}
spec: {type: ExternalName, externalName: other.default.svc.cluster.local}
---
apiVersion: v1
kind: Service
metadata: {name: other}
spec: {ports: [{port: 80}]}
"""


@pytest.mark.parametrize(
    ("kind", "name", "spec", "told"),
    [
        ("HTTPRoute", "shop", {"hostnames": ["*"]}, "wildcard in the wrong place"),
        ("HTTPRoute", "shop", {"rules": [{"backendRefs": []}]}, "sends nothing anywhere"),
        ("Service", "shop", {"externalName": "shop.default.svc.cluster.local"}, "leads back to default/shop"),
    ],
)
def test_an_edit_by_hand_that_breaks_a_route_leaves_the_last_good_one(
    path: Path, caplog, kind, name, spec, told
) -> None:
    with _opened(path) as registry:
        registry.apply(_documents(_ROUTE))
        digest = registry.digest()

    def change(rows) -> None:
        for row in rows.values():
            if (row["kind"], row["metadata"]["name"]) == (kind, name):
                row["spec"].update(spec)

    _edit(path, change)
    with _opened(path) as registry:
        assert registry.digest() == digest
    assert told in caplog.text


def test_a_gateway_without_services_does_not_load_what_reads_them() -> None:
    code = (
        "import sys, edgehub.app, edgehub.documents\n"
        "late = ('mesh', 'edgehub.mesh.translate', 'twin.manifest.routes', 'twin.manifest.kube_network')\n"
        "print([one for one in late if one in sys.modules])"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)
    assert run.stdout.strip() == "[]"


_CHILD = """
import sys
from pathlib import Path
from edgehub.registry import Registry
from twin.manifest.read import read_documents
from twin.manifest.yaml import Source

text = "apiVersion: edgetwin.dev/v1\\nkind: Connection\\n"
text += "metadata: {name: %s}\\nspec: {mapper: m, config: {n: %d, t: '%s'}}\\n"
with Registry(Path(sys.argv[1])) as registry:
    number = int(sys.argv[2])
    while True:
        number += 1
        both = "---\\n".join(text % (name, number, "x" * (number % 7 * 100)) for name in ("a", "b"))
        registry.apply(read_documents([Source("s", both.encode())]).documents)
        print(number, flush=True)
"""


def test_a_killed_writer_loses_nothing_acknowledged_and_leaves_no_half(path: Path) -> None:
    acknowledged = 0
    for round_ in range(20):
        child = subprocess.Popen(
            [sys.executable, "-c", _CHILD, str(path), str(acknowledged)], stdout=subprocess.PIPE, text=True
        )
        assert child.stdout is not None
        with child:
            for _ in range(1 + round_ % 4):
                acknowledged = int(child.stdout.readline())
            child.kill()
            acknowledged = max([acknowledged, *map(int, child.stdout.read().split())])
        with Registry(path) as registry:
            numbers = {one.document.spec.config["n"] for one in registry.all(DocumentKind.CONNECTION)}
        assert len(numbers) == 1
        assert numbers <= {acknowledged, acknowledged + 1}
        acknowledged = max(numbers)
