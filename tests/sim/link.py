"""A gateway's link in the simulation: it comes and goes with the line, and hands messages to the simulated network."""

import asyncio

from twin.link import LinkState, Message
from twin.link.states import StatefulLink
from twin.link.topic_match import matches


class SimLink(StatefulLink):
    def __init__(self, gateway):
        super().__init__(gateway.name, "simulated")
        self._gateway = gateway
        self._handlers = []
        self._open = False

    async def __aenter__(self):
        self._open = True
        self._gateway.link = self
        self._enter(LinkState.CONNECTING)
        self.retry()
        return self

    async def __aexit__(self, *_exc):
        self._open = False
        self._enter(LinkState.CLOSED)

    def retry(self):
        """The line may be there again; connecting takes a while."""
        loop = asyncio.get_running_loop()
        loop.call_later(self._gateway.world.weather_rng.uniform(0.0, 0.5), self._connect)

    def _connect(self):
        if self._open and self._gateway.line:
            self._enter(LinkState.UP)

    def cut(self):
        if self._open:
            if self._state is LinkState.UP:
                self._gateway.world.died(self._gateway)
            self._enter(LinkState.DOWN)

    def publish(self, topic, payload, *, qos=0, retain=False, response_topic="", correlation=b""):
        if self._state is LinkState.UP:
            self._gateway.world.up(self._gateway, topic, payload)

    async def subscribe(self, topic_filter, handler, *, qos=1):
        self._handlers.append((topic_filter, handler))
        return lambda: self._handlers.remove((topic_filter, handler))

    def incoming(self, topic, payload):
        if self._state is LinkState.UP:
            for topic_filter, handler in list(self._handlers):
                if matches(topic_filter, topic):
                    handler(Message(topic, payload))
