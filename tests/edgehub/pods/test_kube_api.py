"""A pod that asks for the gateway's Kubernetes API: what it is told, and where its files lie."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from edgehub.kubeapi.home import PodAccess
from edgehub.kubeapi.keys import Tokens
from edgehub.pods.model import API_FOLDER, PodPlan
from edgehub.pods.records import PodFolders
from edgehub.pods.spec import CannotStart, Surroundings, launch, pod_plans
from edgehub.pods.volumes import Volumes
from twin.manifest.catalog import RegistryView, applied
from twin.manifest.read import read_documents
from twin.manifest.yaml import Source
from twin.sealing import Sealer

pytestmark = pytest.mark.fast

TOKENS = Tokens(b"k" * 32)
POD = """
apiVersion: v1
kind: Pod
metadata: {name: web, namespace: shop}
spec: {automountServiceAccountToken: true, containers: [{name: app, image: host, command: [app]}]}
"""


def site(tmp_path: Path, access: PodAccess | None) -> tuple[PodPlan, Volumes, Surroundings]:
    documents = read_documents([Source("pods.yaml", POD.encode())]).documents
    view, _ = applied(RegistryView(), documents, lambda: "u-1")
    (plan,) = pod_plans(view, "gw")
    volumes = Volumes(PodFolders(tmp_path / "pods"), memory=tmp_path / "memory")
    (tmp_path / "memory").mkdir()
    return plan, volumes, Surroundings(view, Sealer(tmp_path / "key"), "gw", access)


@pytest.mark.parametrize("mounts", [True, False])
def test_it_finds_the_api_as_in_a_cluster(tmp_path: Path, mounts: bool) -> None:
    plan, volumes, around = site(tmp_path, PodAccess("127.0.0.1", 10550, "CA", TOKENS, mounts))
    volumes.make(plan, around)
    made = launch(plan, "app", 1, 0, volumes.place, around)
    assert made.env["KUBERNETES_SERVICE_HOST"] == "127.0.0.1"
    assert made.env["KUBERNETES_SERVICE_PORT"] == "10550"
    folder = tmp_path / "memory/edgetwin-u-1/edgetwin-kube-api"
    assert {path.name for path in folder.iterdir()} == {"token", "ca.crt", "namespace", "kubeconfig"}
    assert (folder / "namespace").read_text() == "shop"
    assert TOKENS.is_good((folder / "token").read_text(), ("u-1",))
    config = json.loads((folder / "kubeconfig").read_text())
    assert config["clusters"][0]["cluster"]["server"] == "https://127.0.0.1:10550"
    if mounts:
        (mount,) = made.mounts
        assert (mount.source, mount.target, mount.read_only) == (str(folder), API_FOLDER, True)
        assert "KUBECONFIG" not in made.env
    else:
        assert made.mounts == ()
        assert made.env["KUBECONFIG"] == str(folder / "kubeconfig")
    volumes.remove(plan.id)
    assert not folder.exists()


def test_it_does_not_start_while_the_api_is_off(tmp_path: Path) -> None:
    plan, volumes, around = site(tmp_path, None)
    with pytest.raises(CannotStart, match="which is off"):
        volumes.make(plan, around)
    with pytest.raises(CannotStart, match="which is off"):
        launch(plan, "app", 1, 0, volumes.place, around)


def test_a_pod_that_does_not_ask_is_told_nothing(tmp_path: Path) -> None:
    plan, volumes, around = site(tmp_path, PodAccess("::1", 1, "CA", TOKENS, mounts=True))
    plan = replace(plan, spec=plan.spec.model_copy(update={"automount_service_account_token": False}))
    volumes.make(plan, around)
    made = launch(plan, "app", 1, 0, volumes.place, around)
    assert made.mounts == ()
    assert not any(name.startswith("KUBE") for name in made.env)


def test_an_address_of_ipv6_is_in_brackets() -> None:
    assert PodAccess("::1", 1, "CA", TOKENS, mounts=True).url == "https://[::1]:1"
