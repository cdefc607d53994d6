"""A cluster, a cloud and a gateway: the tests' API server, and processes as a user has them."""

import contextlib
import time
from pathlib import Path

import yaml

from tests.e2e.sync_site import SyncSite
from tests.kube_server.server import KubeServer

CRDS = Path("cloudsync/kube/crds")
NODE = "gw-1"


def pod(name="web", script="echo up; exec sleep 100000", image="host", **spec):
    container = {"name": "app", "image": image, "command": ["sh", "-c", script]}
    metadata = {"name": name, "namespace": "default", "labels": {"app": name}}
    whole = {"restartPolicy": "Always", "terminationGracePeriodSeconds": 5, "containers": [container], **spec}
    return {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": whole}


class KubeSite(SyncSite):
    def __init__(self, folder: Path, **cloud_settings: str):
        self.cluster = KubeServer(bookmark_s=0.5)
        self.kubeconfig = folder / "kubeconfig"
        super().__init__(folder, EDGETWIN_CLOUD_KUBE_KUBECONFIG=str(self.kubeconfig), **cloud_settings)

    def __enter__(self):
        with contextlib.ExitStack() as stack:
            stack.enter_context(self.cluster)
            self.cluster.kubeconfig(self.kubeconfig)
            for path in sorted(CRDS.glob("*.yaml")):
                self.cluster.create(yaml.safe_load(path.read_text()))
            super().__enter__()
            stack.callback(super().__exit__)
            self._outer = stack.pop_all()
        return self

    def __exit__(self, *_):
        self._outer.close()

    def run(self, wanted):
        """Make a pod, bound as a scheduler would."""
        made = self.cluster.create(wanted)
        self.cluster.bind(wanted["metadata"]["name"], NODE)
        return made

    def until(self, found, within_s=30.0):
        """Wait for something in the cluster; what it was."""
        ends_s = time.monotonic() + within_s
        while not (now := found()):
            assert time.monotonic() < ends_s, self._told()
            time.sleep(0.05)
        return now

    def pod_is(self, name, **wanted):
        """Wait until a pod's status says all of this."""

        def is_so():
            one = self.cluster.get("pods", name)
            status = one["status"] if one else {}
            return one if wanted.items() <= status.items() else None

        return self.until(is_so)

    def ready(self, status, node=NODE):
        """Wait until the node says so of itself."""

        def is_so():
            one = self.cluster.get("nodes", node, "")
            conditions = {each["type"]: each for each in (one or {}).get("status", {}).get("conditions", ())}
            return one if conditions.get("Ready", {}).get("status") == status else None

        return self.until(is_so, 60.0)

    def _told(self):
        seen = {one["metadata"]["name"]: one.get("status") for one in self.cluster.all("pods")}
        return f"{seen}\n{self.cloud.log.read_text()[-5000:]}\n{self.hub.log.read_text()[-1500:]}"
