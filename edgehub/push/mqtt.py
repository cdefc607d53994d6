"""A push by MQTT: a message for each reading, delivered once the broker has acknowledged it."""

from __future__ import annotations

import random
import secrets
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Final

from edgehub.push.own_words import OwnWords
from edgehub.push.payload import kubeedge_line, reading_json, topic_of
from edgehub.push.secret import secret_text
from edgehub.push.target import DELIVERED, Broken, Later, Outcome, Place, PushType, Reading, Refused, Target
from twin.errors import EdgetwinError
from twin.link import LinkState
from twin.link.mqtt import MqttLink
from twin.link.options import TlsOptions, options_from_url
from twin.manifest.pushes import MqttPush

MENDABLE: Final = ("Not authorized", "Quota exceeded", "Implementation specific error", "Unspecified error")
"""Why a broker takes no message from us now; other reasons are of the message."""


class _Refused:
    """Which messages of a batch the broker did not take."""

    def __init__(self) -> None:
        self.why: dict[int, str] = {}

    def note(self, place: int, why: str) -> None:
        self.why[place] = why


class MqttTarget:
    """Publishes to one broker."""

    def __init__(self, link: MqttLink, config: MqttPush, gateway: str) -> None:
        self._link = link
        self._words = OwnWords(config)
        self._gateway = gateway

    async def send(self, batch: Sequence[Reading]) -> Outcome:
        """Publish a batch, and wait until the broker has answered all of it."""
        if self._link.state is not LinkState.UP:
            return Later("the broker is not connected")
        refused = _Refused()
        for place, one in enumerate(batch):
            try:
                self._publish(one, partial(refused.note, place))
            except EdgetwinError as error:
                await self._link.answered()
                return Refused(error.message, taken=min([place, *refused.why]))
        await self._link.answered()
        if not refused.why:
            return DELIVERED
        first = min(refused.why)
        why = f"the broker refuses: {refused.why[first]}"
        return (Later if why.endswith(MENDABLE) else Refused)(why, taken=first)

    def _publish(self, reading: Reading, refused: Callable[[str], None]) -> None:
        config = self._words.of(reading.route)
        topic = topic_of(config.topic, reading, self._gateway)
        shape = config.shape == "kubeedge"
        payload = kubeedge_line(reading, topic) if shape else reading_json(reading, self._gateway)
        # With qos 0 nobody says that it arrived; so the broker is asked to, whatever its subscribers get.
        self._link.publish(topic, payload, qos=1, retain=config.retained, refused=refused)


@asynccontextmanager
async def _opened(config: MqttPush, place: Place) -> AsyncIterator[Target]:
    name = f"edgetwin-push-{place.gateway}-{secrets.token_hex(4)}"
    try:
        options = options_from_url(config.url, name)
        if config.ca is not None:
            options = replace(options, tls=TlsOptions(ca=Path(config.ca)))
        options = replace(options, username=config.username, password=secret_text(config.password))
        options = replace(options, connect_timeout_s=place.timeout_s)
        if options.tls is not None:
            options.tls.context()
    except EdgetwinError as error:
        raise Broken(error.message) from None
    except OSError as error:
        message = f"the certificates cannot be read: {error}"
        raise Broken(message) from None
    async with MqttLink(options, rng=random.Random()) as link:
        await link.connected(place.timeout_s)
        yield MqttTarget(link, config, place.gateway)


PUSH: Final = PushType(MqttPush, _opened)
