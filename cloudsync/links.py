"""All brokers of a cloud as one link: the gateways' brokers (one, or shards) and the apps' broker.

    et/1/sync/...                    the gateways' brokers; down: to where the gateway was heard lately, else all
    et/1/cloud/...                   the first of them: workers among themselves
    et/1/api/...  et/1/reply/...     the apps' brokers, and what else there is ($aws)

Apps may choose their client id, and whoever has a client id takes over the connection of the one that had it before. So
apps have a broker apart, or any app could push any gateway off the line.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AsyncExitStack
from typing import Final, Self

from twin.errors import LinkError
from twin.link import Handler, Link, LinkState, Message, Refused, StateHandler, Unheard, Unsubscribe
from twin.wire import topics

HEARD_S: Final = 10.0
"""How long a gateway is taken to be on the shard where it was heard of."""
MAX_HEARD: Final = 100_000

_SYNC: Final = f"{topics.ROOT}/sync/"
_WORKERS: Final = topics.worker("")
_ORDER: Final = (LinkState.CLOSED, LinkState.DOWN, LinkState.CONNECTING, LinkState.UP)


class CloudLinks:
    """A Link over several; it is up when all of them are."""

    def __init__(self, gateways: Sequence[Link], apps: Sequence[Link], *, monotonic_s: Callable[[], float]) -> None:
        self._gateways = tuple(gateways)
        self._apps = tuple(apps)
        self._all = tuple({id(link): link for link in (*gateways, *apps)}.values())
        self._monotonic_s = monotonic_s
        self._stack = AsyncExitStack()
        self._heard: dict[str, tuple[Link, float]] = {}
        self._handlers: list[StateHandler] = []
        self._told = LinkState.CLOSED

    async def __aenter__(self) -> Self:
        """Start connecting."""
        for link in self._all:
            self._stack.callback(link.on_state(lambda _: self._tell()))
        for link in self._all:
            await self._stack.enter_async_context(link)
        return self

    async def __aexit__(self, *_exc: object) -> None:
        """Say goodbye and stop."""
        await self._stack.aclose()
        self._tell()

    @property
    def state(self) -> LinkState:
        """That of the one that is worst off."""
        return min((link.state for link in self._all), key=_ORDER.index)

    def on_state(self, handler: StateHandler) -> Unsubscribe:
        """Tell the handler each change of state."""
        self._handlers.append(handler)
        return lambda: self._handlers.remove(handler)

    async def connected(self, timeout_s: float) -> None:
        """Wait until all are up. Raises LinkError when the time is over."""
        ends_s = self._monotonic_s() + timeout_s
        for link in self._all:
            await link.connected(max(0.0, ends_s - self._monotonic_s()))

    def publish(
        self,
        topic: str,
        payload: bytes,
        *,
        qos: int = 0,
        retain: bool = False,
        response_topic: str = "",
        correlation: bytes = b"",
        refused: Refused | None = None,
        unheard: Unheard | None = None,
    ) -> None:
        """Hand a message to the brokers where it may be wanted; the contract is Link's."""
        links = self._targets(topic)
        failure: LinkError | None = None
        for link in links:
            if len(links) > 1 and link.state is not LinkState.UP:
                continue  # who listens there comes back with a new session
            try:
                link.publish(
                    topic,
                    payload,
                    qos=qos,
                    retain=retain,
                    response_topic=response_topic,
                    correlation=correlation,
                    refused=refused,
                    unheard=unheard if len(links) == 1 else None,  # another broker may have had somebody
                )
            except LinkError as error:
                failure = error
        if failure is not None:
            raise failure

    async def subscribe(self, topic_filter: str, handler: Handler, *, qos: int = 1) -> Unsubscribe:
        """Call the handler for each message that matches, wherever it comes from; the contract is Link's."""
        links = self._links_of(topic_filter)
        learning = len(self._gateways) > 1 and links is self._gateways
        stops = [
            await link.subscribe(topic_filter, self._learning(link, handler) if learning else handler, qos=qos)
            for link in links
        ]

        def stop() -> None:
            for one in stops:
                one()

        return stop

    def _targets(self, topic: str) -> Sequence[Link]:
        links = self._links_of(topic)
        if links is self._gateways and len(links) > 1:
            heard = self._heard.get(topic.removeprefix(_SYNC).partition("/")[0])
            if heard is not None and self._monotonic_s() - heard[1] < HEARD_S and heard[0].state is LinkState.UP:
                return heard[:1]
        return links

    def _links_of(self, topic: str) -> Sequence[Link]:
        if topic.startswith("$share/"):
            topic = topic.split("/", 2)[-1]
        if topic.startswith(_SYNC):
            return self._gateways
        return self._gateways[:1] if topic.startswith(_WORKERS) else self._apps

    def _tell(self) -> None:
        state = self.state
        if state is not self._told:
            self._told = state
            for handler in list(self._handlers):
                handler(state)

    def _learning(self, link: Link, handler: Handler) -> Handler:
        def learn(message: Message) -> None:
            gateway = message.topic.removeprefix(_SYNC).partition("/")[0]
            if len(self._heard) >= MAX_HEARD:
                self._heard.clear()
            self._heard[gateway] = (link, self._monotonic_s())
            handler(message)

        return learn
