"""The kit as a pytest plugin: fixtures for lines that fail, and a table of the contract at the end of a run.

    pytest_plugins = ["mappers.testkit.plugin"]        in a test module or conftest.py, or
    addopts = ["-p", "mappers.testkit.plugin"]         in pyproject.toml

It is asked for by name, never loaded by itself: test runs that have nothing to do with mappers stay as they are.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from pathlib import Path

    from mappers.testkit.cable import PtyCable
    from mappers.testkit.proxy import TcpProxy

pytest.register_assert_rewrite("mappers.testkit.bench", "mappers.testkit.checks", "mappers.testkit.contract")


@pytest.fixture
def fault_proxy() -> Callable[[str, int], TcpProxy]:
    """A TCP proxy before a host and port, that delays, throttles, cuts, freezes and makes noise; ``async with`` it."""
    from mappers.testkit.proxy import TcpProxy

    return TcpProxy


@pytest.fixture
def fault_cable(tmp_path: Path) -> Callable[[str], PtyCable]:
    """The same for a serial line, before the path of a peer's port."""
    from mappers.testkit.cable import PtyCable

    return lambda peer_path: PtyCable(peer_path, tmp_path)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Show what was done and what is exempt, with the reasons, if a contract was run."""
    tally = sys.modules.get("mappers.testkit.tally")
    lines = list(tally.TALLY.lines()) if tally is not None else []
    if lines:
        terminalreporter.section("contract of mappers")
        for line in lines:
            terminalreporter.write_line(line)
