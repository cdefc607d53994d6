"""The userspace plane for HTTP/1.1: each request is matched, admitted, sent to an endpoint, retried, answered.

    client ── ClientConnection ── Exchange ── OriginConnection ── endpoint
              heads, bodies,      one request:  heads, bodies of
              pipelining          rule, tries   what comes back

A connection is one protocol object; no request has a task of its own.
"""

from __future__ import annotations

from mesh.planes.http.carrier import HttpCarrier
from mesh.planes.http.metered import HttpMetered
from mesh.planes.http.shared import HttpWatcher, Times

__all__ = ["HttpCarrier", "HttpMetered", "HttpWatcher", "Times"]
