"""What the parent tells a child of its own: one line of JSON on its standard input, so that no secret is in its
arguments or its environment.
"""

from __future__ import annotations

import os
import random
import secrets
import sys
import time
from pathlib import Path
from typing import TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from cloudsync.identity.credentials import Servers
from cloudsync.links import CloudLinks
from cloudsync.settings import AuditSettings, IdentitySettings, KubeSettings, RelaySettings, SyncSettings
from twin.errors import EdgetwinError
from twin.link import Link
from twin.link.mqtt import MqttLink
from twin.link.options import LOCAL_RETRY_BASE_S, LOCAL_RETRY_CAP_S, MqttOptions, TlsOptions


class BadSetup(EdgetwinError):
    """A child that was not started by its parent."""

    code = "bad_setup"


class _Setup(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class BrokerLogin(_Setup):
    """A broker, and an account on it."""

    host: str
    port: int
    username: str
    password: str = Field(repr=False)
    ca: str = ""
    """Path of the CA of its certificate; empty: no TLS."""


class ChildSetup(_Setup):
    """What every child is told."""

    name: str
    parent_pid: int
    run: str
    """Drawn by the parent at its start."""
    gateways: tuple[BrokerLogin, ...]
    apps: tuple[BrokerLogin, ...]
    store_url: str = Field(repr=False)
    log_level: str = "info"

    def links(self, rng: random.Random) -> CloudLinks:
        """Links to all brokers; one that is named twice is one."""
        made: dict[BrokerLogin, Link] = {}
        for login in (*self.gateways, *self.apps):
            if login not in made:
                made[login] = MqttLink(self._options(login), rng=rng)
        gateways, apps = ([made[login] for login in logins] for logins in (self.gateways, self.apps))
        return CloudLinks(gateways, apps, monotonic_s=time.monotonic)

    def _options(self, login: BrokerLogin) -> MqttOptions:
        return MqttOptions(
            *(login.host, login.port, f"edgetwin-{self.name}-{secrets.token_hex(8)}", login.username, login.password),
            tls=TlsOptions(ca=Path(login.ca)) if login.ca else None,
            retry_base_s=LOCAL_RETRY_BASE_S,
            retry_cap_s=LOCAL_RETRY_CAP_S,
        )


class WorkerSetup(ChildSetup):
    """What a worker is told."""

    sync: SyncSettings = SyncSettings()
    audit: AuditSettings = AuditSettings()
    metrics: tuple[str, int] | None = None
    """Where it serves its metrics; None: nowhere."""
    secrets_key: str
    """Path of the key that Secrets are kept with."""


class KubeSetup(ChildSetup):
    """What the process that speaks with Kubernetes is told."""

    kube: KubeSettings
    trouble: str
    """Path of the file that says what is wrong with the cluster."""


class WebSetup(ChildSetup):
    """What the web process is told."""

    host: str
    port: int
    state: str
    """The cloud's state folder, with the CA."""
    servers: Servers
    identity: IdentitySettings = IdentitySettings()
    joins_per_minute: int = 30
    dashboard: bool = True
    dashboard_hosts: tuple[str, ...] = ()
    """Names under which browsers reach it."""


class RelaySetup(ChildSetup):
    """What the relay is told."""

    host: str
    port: int
    state: str
    """The cloud's state folder, with the servers' certificate."""
    relay: RelaySettings = RelaySettings()


S = TypeVar("S", bound=BaseModel)


def child_environment() -> dict[str, str]:
    """Our own environment without what is secret in it (the store's password): that goes on standard input only."""
    return {name: value for name, value in os.environ.items() if not name.startswith("EDGETWIN_")}


def read_setup(model: type[S]) -> S:
    """Read the line. Raises BadSetup; nothing of it is in the text."""
    try:
        return model.model_validate_json(sys.stdin.buffer.readline())
    except ValidationError:
        message = "this is a child of `edgetwin cloud run`, which tells it what to do on its standard input"
        raise BadSetup(message, remedy="Run `edgetwin cloud run`.") from None
