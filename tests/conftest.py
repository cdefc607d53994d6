"""Fixtures that many suites share: free ports and a real broker child."""

import os
import pwd
import random
import signal
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

from edgehub.broker import Broker
from tests import ports
from twin.broker_accounts import Account, Rule, TopicAccess, full_access, new_password
from twin.clock import SystemClock
from twin.mosquitto import find_mosquitto
from twin.supervisor import Supervisor

# A slow machine is no fault of the code; a run of the continuous integration must not depend on luck.
settings.register_profile("tree", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.register_profile("ci", parent=settings.get_profile("tree"), derandomize=True)
settings.load_profile("ci" if os.environ.get("CI") else "tree")

# A run in the background of a script ignores Ctrl-C, and so would every program that it starts.
signal.signal(signal.SIGINT, signal.default_int_handler)

pytest_plugins = ["mappers.testkit.plugin"]

MOSQUITTO = ("mosquitto", "/usr/sbin/mosquitto", ".cache/mosquitto/usr/sbin/mosquitto")


@dataclass
class TestBroker:
    """A Mosquitto with our generated config; ``hub`` may use every topic."""

    __test__ = False  # not a test class, whatever its name says

    child: Broker
    hub: Account
    accounts: list[Account] = field(default_factory=list)

    @property
    def host(self) -> str:
        return self.child.host

    @property
    def port(self) -> int:
        return self.child.port

    def account(self, name: str, *rules: tuple[str, str]) -> Account:
        """Add an account with (access, filter) rules, access one of read, write, readwrite."""
        made = Account(name, new_password(), tuple(Rule(TopicAccess(access), topic) for access, topic in rules))
        self.accounts.append(made)
        self.child.set_accounts(self.accounts)
        return made


@pytest.fixture
def free_port() -> Callable[[], int]:
    """Call it for a port on loopback that is free right now."""
    return ports.free_port


@pytest.fixture
async def supervisor() -> AsyncIterator[Supervisor]:
    """Ends every child it was given when the test is over."""
    async with Supervisor(clock=SystemClock(), rng=random.Random(1)) as owner:
        yield owner


@pytest.fixture
async def broker(supervisor: Supervisor, free_port: Callable[[], int], tmp_path: Path) -> AsyncIterator[TestBroker]:
    """A broker child of this test alone."""
    binary = await find_mosquitto(MOSQUITTO)
    hub = full_access("hub", new_password())
    child = Broker(
        binary=binary.path,
        folder=tmp_path / "broker",
        port=free_port(),
        hub=hub,
        accounts=(),
        user=pwd.getpwuid(os.geteuid()).pw_name,
        supervisor=supervisor,
    )
    async with child:
        yield TestBroker(child, hub)
