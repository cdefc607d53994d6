"""What the KubeEdge dialect says, in its order; the first message of an answer at once, the others a turn later."""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Callable

from twin.dialects.kubeedge import Answer, Sent
from twin.errors import InvalidName, LinkError
from twin.link import Link

log = logging.getLogger(__name__)


class Outbox:
    """Sends to MQTT, and to KubeEdge's cloud if there is one."""

    def __init__(self, link: Link, to_cloud: Callable[[Sent], None] | None) -> None:
        self._link = link
        self._to_cloud = to_cloud
        self._later: deque[Sent] = deque()

    def send(self, answer: Answer) -> None:
        """Send an answer: who asked need not wait until all that follows the result is written out too."""
        for number, one in enumerate(answer.sent):
            if number == 0:
                self.send_one(one)
            else:
                self._put_off(one)

    def send_one(self, sent: Sent) -> None:
        """Send a message, after those that wait."""
        if self._later:
            self._put_off(sent)
        else:
            self._write(sent)

    def flush(self) -> None:
        """Send all that waits."""
        while self._later:
            self._write(self._later.popleft())

    def _put_off(self, sent: Sent) -> None:
        if not self._later:
            asyncio.get_running_loop().call_soon(self.flush)
        self._later.append(sent)

    def _write(self, sent: Sent) -> None:
        if sent.cloud:
            if self._to_cloud is not None:
                self._to_cloud(sent)
            return
        try:
            self._link.publish(sent.resource, sent.body, qos=1)
        except (LinkError, InvalidName) as error:  # who asked hears nothing, and asks again
            log.debug("no answer on %s: %s", sent.resource, error.message)
