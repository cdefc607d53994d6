"""Where the cloud is: named by the settings, or by the keys that `edgetwin join` wrote; looked at again and again."""

from __future__ import annotations

import logging
import random
from dataclasses import replace
from typing import Final

from edgehub.cloud_keys import CloudKeys, NotJoined
from edgehub.settings import CloudSettings
from edgehub.sync.session import CloudPlace
from edgehub.sync.up import DEATH
from twin.link import Link, Will
from twin.link.mqtt import MqttLink
from twin.link.options import MqttOptions, options_from_url
from twin.setting_types import seconds
from twin.wire import topics

log = logging.getLogger(__name__)

KEEPALIVE_S: Final = 10


class CloudFinder:
    """Calling it gives the place, or None; ``alarm`` says why there is none although there should be."""

    def __init__(self, settings: CloudSettings, keys: CloudKeys, gateway: str, rng: random.Random) -> None:
        self._settings = settings
        self._keys = keys
        self._gateway = gateway
        self._rng = rng
        self._first = True
        self.alarm = ""

    def __call__(self) -> CloudPlace | None:
        """Look."""
        if not self._settings.enabled:
            return None
        try:
            found = self._keys.connection()
        except NotJoined as error:
            self._tell(f"{error.message}: {error.remedy}")
            return None
        url = self._settings.url
        if found is None and not url:
            self._tell("")
            return None
        if found is not None and found.gateway != self._gateway:
            self._tell(
                f"the keys for the cloud are those of gateway {found.gateway}, this is {self._gateway}:"
                f" set gateway.name: {found.gateway}, or join again"
            )
            return None
        self._tell("")
        if url:
            options = options_from_url(url, self._gateway)
            if found is not None and options.tls is not None:
                options = replace(options, tls=self._keys.tls())
        else:
            assert found is not None
            options = MqttOptions(found.host, found.port, self._gateway, tls=self._keys.tls())
        name = f"{options.host}:{options.port}"
        return CloudPlace(name, (url, found), lambda: self._link(options))

    def _link(self, options: MqttOptions) -> Link:
        first_delay_s = seconds(self._settings.first_delay) if self._first else 0.0
        self._first = False
        retry_s = seconds(self._settings.retry_cap)
        will = Will(topics.sync_state(self._gateway), DEATH)
        return MqttLink(
            replace(
                options,
                keepalive_s=KEEPALIVE_S,
                will=will,
                first_delay_s=first_delay_s,
                retry_base_s=retry_s,  # a window that does not grow: a fleet whose windows grow comes back in a burst
                retry_cap_s=retry_s,
            ),
            rng=self._rng,
        )

    def _tell(self, alarm: str) -> None:
        if alarm and alarm != self.alarm:
            log.error("%s", alarm)  # the text says all
        self.alarm = alarm
