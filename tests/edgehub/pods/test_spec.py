"""What a container is told: variables, words and volumes, out of documents."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from edgehub.documents import open_documents
from edgehub.pods.found import record_of
from edgehub.pods.model import PodPlan
from edgehub.pods.records import PodFolders
from edgehub.pods.spec import CannotStart, Surroundings, environment, expanded, launch, pod_plans, pod_specs
from edgehub.pods.volumes import Volumes
from twin.manifest.catalog import RegistryView, applied
from twin.manifest.kube_fields import Engine
from twin.manifest.read import read_documents
from twin.manifest.yaml import Source
from twin.sealing import Sealer, SecretKeyError
from twin.wire.api import ApplyRequest, DocumentSource

pytestmark = pytest.mark.fast

DOCUMENTS = """
apiVersion: v1
kind: Pod
metadata: {name: web, labels: {tier: front}, annotations: {note: "42"}}
spec:
  nodeName: gw
  containers:
  - name: app
    image: host
    command: [app, "$(GREETING) $(NOBODY) $$(GREETING)"]
    args: [--name, $(NAME)]
    workingDir: /srv
    envFrom:
    - {prefix: C_, configMapRef: {name: settings}}
    - {secretRef: {name: nothing, optional: true}}
    env:
    - {name: GREETING, value: hello $(C_WHO)}
    - {name: NAME, valueFrom: {fieldRef: {fieldPath: metadata.name}}}
    - {name: TIER, valueFrom: {fieldRef: {fieldPath: "metadata.labels['tier']"}}}
    - {name: NOTE, valueFrom: {fieldRef: {fieldPath: "metadata.annotations['note']"}}}
    - {name: NODE, valueFrom: {fieldRef: {fieldPath: spec.nodeName}}}
    - {name: PASSWORD, valueFrom: {secretKeyRef: {name: login, key: password}}}
    - {name: MAYBE, valueFrom: {configMapKeyRef: {name: settings, key: absent, optional: true}}}
    volumeMounts:
    - {name: config, mountPath: /etc/app}
    - {name: login, mountPath: /etc/login, subPath: password}
    - {name: scratch, mountPath: /scratch}
    - {name: host, mountPath: /host, readOnly: true}
  volumes:
  - {name: config, configMap: {name: settings, items: [{key: WHO, path: deep/who.txt}]}}
  - {name: login, secret: {secretName: login}}
  - {name: scratch, emptyDir: {}}
  - {name: host, hostPath: {path: /usr}}
---
apiVersion: v1
kind: ConfigMap
metadata: {name: settings}
data: {WHO: world}
---
apiVersion: v1
kind: Secret
metadata: {name: login}
stringData: {password: hunter2}
data: {user: cm9vdA==}
---
apiVersion: v1
kind: Pod
metadata: {name: elsewhere}
spec: {nodeName: other, containers: [{name: a, image: host, command: [a]}]}
"""


@pytest.fixture
def sealer(tmp_path: Path) -> Sealer:
    return Sealer(tmp_path / "keys" / "secrets.key")


def view_of(text: str, sealer: Sealer) -> RegistryView:
    documents = sealer.sealed(read_documents([Source("pods.yaml", text.encode())]).documents)
    view, _ = applied(RegistryView(), documents, lambda: "u-1")
    return view


@pytest.fixture
def around(sealer: Sealer) -> Surroundings:
    return Surroundings(view_of(DOCUMENTS, sealer), sealer, "gw")


def plan_in(around: Surroundings) -> PodPlan:
    return pod_plans(around.view, around.gateway)[0]


def test_only_pods_of_this_gateway_are_run(around: Surroundings) -> None:
    assert [plan.id.name for plan in pod_plans(around.view, "gw")] == ["web"]
    assert [str(spec.key) for spec in pod_specs(around.view, "gw")] == ["pod/default/web"]
    assert [plan.id.name for plan in pod_plans(around.view, "other")] == ["elsewhere"]


def test_variables_come_from_everywhere(around: Surroundings) -> None:
    plan = plan_in(around)
    env = environment(plan, plan.spec.containers[0], around)
    del env["PATH"]
    assert env == {
        "HOSTNAME": "web",
        "C_WHO": "world",
        "GREETING": "hello world",
        "NAME": "web",
        "TIER": "front",
        "NOTE": "42",
        "NODE": "gw",
        "PASSWORD": "hunter2",
    }


def test_a_launch_has_words_folder_and_mounts(around: Surroundings, tmp_path: Path) -> None:
    plan = plan_in(around)
    volumes = Volumes(PodFolders(tmp_path), memory=tmp_path / "memory")
    made = launch(plan, "app", 3, 1, volumes.place, around)
    assert made.argv == ("app", "hello world $(NOBODY) $(GREETING)", "--name", "web")
    assert (made.run, made.crashes, made.cwd) == (3, 1, "/srv")
    mounts = {mount.target: mount for mount in made.mounts}
    assert mounts["/etc/app"].read_only
    assert mounts["/etc/login"].source == str(tmp_path / "memory/edgetwin-u-1/login/password")
    assert not mounts["/scratch"].read_only
    assert (mounts["/host"].source, mounts["/host"].read_only) == ("/usr", True)


def test_any_user_of_an_image_may_use_its_volumes(around: Surroundings, tmp_path: Path) -> None:
    memory = tmp_path / "memory"
    memory.mkdir()
    plan = plan_in(around)
    spec = plan.spec.model_copy(update={"runtime_class_name": "podman"})
    folders = PodFolders(tmp_path / "pods")
    folders.write_record(record_of(plan, Engine.PODMAN))
    Volumes(folders, memory=memory).make(replace(plan, spec=spec), around)
    kept, login = tmp_path / "pods/u-1/volumes", memory / "edgetwin-u-1/login"
    modes = {one: one.stat().st_mode & 0o777 for one in (kept / "scratch", login, login / "user")}
    assert list(modes.values()) == [0o777, 0o755, 0o444]
    assert all(one.stat().st_mode & 0o077 == 0 for one in (kept, login.parent)), "nobody else gets that far"


def test_volumes_hold_the_files_and_follow_the_documents(around: Surroundings, sealer: Sealer, tmp_path: Path) -> None:
    memory = tmp_path / "memory"
    memory.mkdir()
    volumes = Volumes(PodFolders(tmp_path / "pods"), memory=memory)
    plan = plan_in(around)
    volumes.make(plan, around)
    config = tmp_path / "pods/u-1/volumes/config"
    assert (config / "deep/who.txt").read_text() == "world"
    login = memory / "edgetwin-u-1/login"
    assert sorted(one.name for one in login.iterdir()) == ["password", "user"]
    assert (login / "user").read_text() == "root"
    assert (login / "user").stat().st_mode & 0o777 == 0o400
    changed = view_of(DOCUMENTS.replace("WHO: world", "WHO: you").replace("data: {user: cm9vdA==}\n", ""), sealer)
    volumes.make(plan, Surroundings(changed, sealer, "gw"))
    assert (config / "deep/who.txt").read_text() == "you"
    assert [one.name for one in login.iterdir()] == ["password"]
    volumes.remove(plan.id)
    assert list(memory.iterdir()) == []


@pytest.mark.parametrize(
    ("there", "instead", "said"),
    [
        ("metadata: {name: settings}", "metadata: {name: others}", "there is no ConfigMap default/settings"),
        ("stringData: {password: hunter2}", "type: Opaque", "Secret default/login has no key password"),
        ("data: {WHO: world}", "binaryData: {WHO: /w==}", "the key WHO of ConfigMap settings is not text"),
    ],
)
def test_what_a_variable_lacks_is_said(there: str, instead: str, said: str, sealer: Sealer) -> None:
    around = Surroundings(view_of(DOCUMENTS.replace(there, instead), sealer), sealer, "gw")
    plan = plan_in(around)
    with pytest.raises(CannotStart, match=said) as caught:
        environment(plan, plan.spec.containers[0], around)
    assert caught.value.reason == "CreateContainerConfigError"
    assert caught.value.remedy


def test_a_host_path_that_is_missing_is_said(
    plan_of: Callable[..., PodPlan], around: Surroundings, tmp_path: Path
) -> None:
    spec = {
        "containers": [{"name": "a", "image": "host", "command": ["a"]}],
        "volumes": [{"name": "v", "hostPath": {"path": str(tmp_path / "absent"), "type": "Directory"}}],
    }
    with pytest.raises(CannotStart, match="there is no folder"):
        Volumes(PodFolders(tmp_path)).make(plan_of(spec), around)
    spec["volumes"][0]["hostPath"]["type"] = "DirectoryOrCreate"  # type: ignore[index]
    Volumes(PodFolders(tmp_path)).make(plan_of(spec), around)
    assert (tmp_path / "absent").is_dir()


def test_references_in_words() -> None:
    assert expanded("$(A)$(B)$$(A)$A", {"A": "1"}) == "1$(B)$(A)$A"


def test_secrets_are_sealed_the_same_each_time_and_bound_to_their_name(sealer: Sealer, tmp_path: Path) -> None:
    first, again = (view_of(DOCUMENTS, sealer) for _ in range(2))
    assert {ref: one.hash for ref, one in first.stored.items()} == {ref: one.hash for ref, one in again.stored.items()}
    secret = next(one.document for one in first.stored.values() if one.ref.kind == "Secret")
    assert "hunter2" not in str(secret.raw)
    assert "stringData" not in secret.raw
    assert sealer.opened(secret) == {"password": b"hunter2", "user": b"root"}
    key = tmp_path / "keys" / "secrets.key"
    assert key.stat().st_mode & 0o777 == 0o600
    moved = read_documents([Source("x", str(secret.raw).replace("'login'", "'other'").encode())]).documents[0]
    with pytest.raises(SecretKeyError, match="was not encrypted with the key"):
        sealer.opened(moved)
    assert sealer.sealed([secret])[0].raw == secret.raw  # sealed once is enough


def test_a_key_that_is_missing_or_another_is_said_with_the_remedy(sealer: Sealer, tmp_path: Path) -> None:
    secret = next(one.document for one in view_of(DOCUMENTS, sealer).stored.values() if one.ref.kind == "Secret")
    key = tmp_path / "keys" / "secrets.key"
    for written, said in (
        ("00" * 64, "not encrypted"),
        ("short", "cannot be read"),
        ("00", "has 1 bytes"),
        (None, "is missing"),
    ):
        key.unlink(missing_ok=True)
        if written is not None:
            key.write_text(written)
        with pytest.raises(SecretKeyError, match=said) as caught:
            Sealer(key).opened(secret)
        assert caught.value.remedy


def test_a_systemd_credential_goes_before_the_key_file(tmp_path: Path) -> None:
    (tmp_path / "edgetwin-secrets").write_text("11" * 64)
    sealer = Sealer(tmp_path / "secrets.key", credentials=str(tmp_path))
    secret = next(one.document for one in view_of(DOCUMENTS, sealer).stored.values() if one.ref.kind == "Secret")
    assert sealer.opened(secret)["password"] == b"hunter2"
    assert not (tmp_path / "secrets.key").exists()


def test_a_pod_of_another_gateway_is_kept_with_a_warning(tmp_path: Path) -> None:
    request = ApplyRequest(sources=[DocumentSource(name="pods.yaml", text=DOCUMENTS)])
    with open_documents(tmp_path / "registry.json", "gw") as documents:
        reply = documents.apply(request)
        again = documents.apply(request)
    (warning,) = reply.warnings
    assert "spec.nodeName: names the gateway other, this is gw; it is kept, and does not run here" in warning
    assert {change.action for change in again.changes} == {"unchanged"}
    kept = (tmp_path / "registry.json").read_text()
    assert "hunter2" not in kept
    assert "sealed:1:" in kept
