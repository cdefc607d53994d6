"""Runs the API server in a thread of its own: `with KubeServer() as server: ...`.

As a process of its own: `python -m tests.kube_server.server --kubeconfig PATH`.
"""

import argparse
import asyncio
import base64
import contextlib
import json
import logging
import secrets
import tempfile
import threading
from collections import deque
from pathlib import Path

import uvicorn
import yaml

from tests.kube_server.access import User
from tests.kube_server.app import App
from tests.kube_server.faults import Faults
from tests.kube_server.rules import Cluster
from tests.kube_server.tls import certificate
from tests.ports import free_port

ADMIN = "admin"


class KubeServer:
    """The server, its users and its data. It may be stopped and started again, with its data or without."""

    def __init__(self, port: int = 0, *, bookmark_s: float = 1.0):
        self.port = port or free_port()
        self.bookmark_s = bookmark_s
        self.cluster = Cluster()
        self.faults = Faults()
        self.users: dict[str, User] = {}
        self.requests: deque[tuple[str, str, str, str]] = deque(maxlen=100_000)
        self.token = self.add_user(ADMIN)
        self._folder = tempfile.TemporaryDirectory(prefix="kube-server-")
        self.ca, self._key = certificate(Path(self._folder.name))
        self._thread: threading.Thread | None = None

    @property
    def url(self):
        return f"https://127.0.0.1:{self.port}"

    def add_user(self, name, rules=None):
        """A bearer token."""
        token = secrets.token_hex(16)
        self.users[token] = User(name, rules)
        return token

    def user(self, name):
        return next(one for one in self.users.values() if one.name == name)

    def kubeconfig(self, path: Path, token="", namespace="default"):
        name = "tests"
        ca = base64.b64encode(self.ca.read_bytes()).decode()
        cluster = {"server": self.url, "certificate-authority-data": ca}
        path.write_text(
            yaml.safe_dump(
                {
                    "apiVersion": "v1",
                    "kind": "Config",
                    "current-context": name,
                    "clusters": [{"name": name, "cluster": cluster}],
                    "users": [{"name": name, "user": {"token": token or self.token}}],
                    "contexts": [{"name": name, "context": {"cluster": name, "user": name, "namespace": namespace}}],
                }
            )
        )
        path.chmod(0o600)
        return path

    def __enter__(self):
        self.start()
        return self

    def __exit__(self, *_):
        self.stop()
        self._folder.cleanup()

    def start(self):
        ready = threading.Event()
        self.cluster.store.news = asyncio.Event()  # the former one may belong to a loop that has ended
        config = uvicorn.Config(
            App(self),
            host="127.0.0.1",
            port=self.port,
            ssl_certfile=self.ca,
            ssl_keyfile=self._key,
            log_level="critical",
            timeout_graceful_shutdown=1,
        )
        self._server = _Server(config, ready)
        self._thread = threading.Thread(target=self._run, name="API server of the tests")
        self._thread.start()
        assert ready.wait(30), "the API server did not start"

    def _run(self):
        with asyncio.Runner() as runner:
            self._loop = runner.get_loop()
            runner.run(self._server.serve())
            runner.run(_last_words())

    def stop(self):
        """End it; all connections are cut."""
        if self._thread is None:
            return
        self.call(self.faults.cut_watches)
        self._server.should_exit = True
        self._server.force_exit = True
        self._thread.join(30)
        assert not self._thread.is_alive()
        self._thread = None

    def restart(self, *, lose_data=False):
        self.stop()
        if lose_data:
            self.cluster = Cluster()
        self.start()

    def call(self, work, *args, **more):
        """Do something inside the server's loop, and return what came of it."""
        done: list = []
        ended = threading.Event()

        def inside():
            try:
                done.append((work(*args, **more), None))
            except Exception as error:  # noqa: BLE001  # handed over to the caller
                done.append((None, error))
            ended.set()

        self._loop.call_soon_threadsafe(inside)
        assert ended.wait(30)
        result, error = done[0]
        if error is not None:
            raise error
        return result

    # -- what tests do most -------------------------------------------------------------------------------------------

    def find(self, plural):
        return next(one for one in self.cluster.resources() if one.plural == plural)

    def get(self, plural, name, namespace="default"):
        """An object, or None."""
        resource = self.find(plural)
        return self.call(lambda: self.cluster.store.objects.get(self.cluster.key(resource, namespace, name)))

    def all(self, plural, namespace=""):
        resource = self.find(plural)
        return self.call(lambda: self.cluster.store.all(resource.group, resource.plural, namespace))

    def create(self, body):
        """Create an object as somebody else would."""
        group, _, version = body["apiVersion"].rpartition("/")
        kinds = self.call(lambda: list(self.cluster.resources()))
        resource = next(one for one in kinds if (one.group, one.version, one.kind) == (group, version, body["kind"]))
        namespace = body["metadata"].get("namespace", "default")
        return self.call(self.cluster.create, resource, namespace, body, "tests")

    def merge(self, plural, name, body, namespace="default", part=""):
        return self.call(self.cluster.patch, self.find(plural), namespace, name, "merge", body, "tests", part=part)

    def delete(self, plural, name, namespace="default", **options):
        return self.call(self.cluster.delete, self.find(plural), namespace, name, options)

    def bind(self, pod, node, namespace="default"):
        return self.call(self.cluster.bind, self.find("pods"), namespace, pod, {"target": {"name": node}})

    def compact(self):
        self.call(self.cluster.store.compact)


async def _last_words():
    """Let connections that their clients have just ended be closed, too: uvicorn counts them no more."""
    for _ in range(20):
        await asyncio.sleep(0.001)


class _Server(uvicorn.Server):
    """Says when it listens, and leaves signals to the test."""

    def __init__(self, config, ready):
        super().__init__(config)
        self._ready = ready

    @contextlib.contextmanager
    def capture_signals(self):
        yield

    async def shutdown(self, sockets=None):
        self._cut_all()
        await super().shutdown(sockets)
        # A client whose handshake was under way when the listener was closed comes in later than that, and would stay.
        while self.server_state.connections:
            self._cut_all()
            await asyncio.sleep(0.001)

    def _cut_all(self):
        for connection in list(self.server_state.connections):
            if connection.transport is not None:
                connection.transport.abort()

    async def startup(self, sockets=None):
        await super().startup(sockets)
        self._ready.set()


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--kubeconfig", type=Path, required=True, help="where to write how it is reached")
    arguments = parser.parse_args()
    logging.basicConfig()
    server = KubeServer()
    server.start()
    server.kubeconfig(arguments.kubeconfig)
    print(json.dumps({"url": server.url}), flush=True)  # noqa: T201
    with contextlib.suppress(KeyboardInterrupt):
        server._thread.join()
    server.stop()


if __name__ == "__main__":
    main()
