"""Requests as the monitor counts them."""

from __future__ import annotations

from mesh.access_log import AccessLog, Passage
from mesh.monitor import Monitor, Share
from mesh.planes.http.exchange_state import ExchangeState
from mesh.planes.http.rules import Front
from mesh.snapshot import Own
from mesh.tally import Tally, bucket_of


class HttpMetered:
    """Tells the monitor: an HttpWatcher."""

    def __init__(self, monitor: Monitor) -> None:
        self._monitor = monitor

    def answered(self, exchange: ExchangeState, *, abandoned: bool) -> None:
        """One is over; ``abandoned``: its client did not get a whole answer."""
        target = exchange.target
        backing = exchange.backing
        client = exchange.client
        status = exchange.status
        edge = client.edge
        if edge is None:
            edge = client.edge = self._monitor.edge(client.address, client.front.frontend.key.service)
        took_us = int((exchange.answered_s - exchange.began_s) * 1e6)
        status_class, bucket = status // 100, bucket_of(took_us)
        sent_bytes, received_bytes = exchange.sent_bytes, exchange.received_bytes
        abandoned = abandoned and not exchange.left  # clients may leave
        if status:
            edge.passed(status_class, bucket, took_us, sent_bytes, received_bytes)
        if abandoned:
            edge.failed += 1
        if target is None or backing is None:
            here = self._share(exchange)
            here.degraded += exchange.degraded
            if exchange.own is not None:
                here.answered_here(exchange.own)
        else:
            share = backing.share
            if share is None:
                share = backing.share = self._share(exchange)
            tally = share.of(target)
            if exchange.own is None and not abandoned:
                if status:
                    tally.passed(status_class, bucket, took_us, sent_bytes, received_bytes)
            else:
                _failed(exchange, share, tally)
            if exchange.retries or exchange.degraded:
                share.retries += exchange.retries
                share.degraded += exchange.degraded
        log = self._monitor.log
        if log is not None:
            self._log(log, exchange, failed=abandoned or status >= 500)

    def refused(self, front: Front, status: int) -> None:
        """What a client sent was no request."""
        del status
        self._monitor.share(front.frontend.key).answered_here(Own.BAD_REQUEST)

    def _log(self, log: AccessLog, exchange: ExchangeState, *, failed: bool) -> None:
        if log.wants(exchange.ended_s, failed=failed):
            log.add(self._passage(exchange, failed=failed))

    def _share(self, exchange: ExchangeState) -> Share:
        rule = exchange.plan.rule
        route = str(rule.bound.route) if rule is not None and rule.bound.route is not None else ""
        backing = exchange.backing
        port = backing.backend.port if backing is not None else None
        return self._monitor.share(exchange.client.front.frontend.key, route, port)

    def _passage(self, exchange: ExchangeState, *, failed: bool) -> Passage:
        head, target, backing = exchange.plan.head, exchange.target, exchange.backing
        share = self._share(exchange)
        address = exchange.client.address
        return Passage(
            client=address,
            caller=self._monitor.caller(address),
            service=str(share.key.frontend.service),
            route=share.key.route,
            backend=str(backing.backend.port) if backing is not None else "",
            endpoint=target.endpoint.place if target is not None else "",
            protocol="http",
            method=head.method.decode("ascii"),
            host=head.host,
            path=head.path.decode("ascii"),
            status=exchange.status,
            bytes_in=exchange.sent_bytes,
            bytes_out=exchange.received_bytes,
            took_ms=(exchange.answered_s - exchange.began_s) * 1000,
            tries=1 + exchange.retries,
            own=exchange.own or "",
            failed=failed,
        )


def _failed(exchange: ExchangeState, share: Share, tally: Tally) -> None:
    tally.failed += 1
    if exchange.own is not None:
        share.answered_here(exchange.own)
