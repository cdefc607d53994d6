"""Tests of hardware that are skipped for want of programs or rights fail instead where they must run.

``EDGETWIN_NOT_SKIPPED=hardware``, which the continuous integration sets as root, asks for that.
"""

from __future__ import annotations

import os
from collections.abc import Generator

import pytest

SAID = "EDGETWIN_NOT_SKIPPED"


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport() -> Generator[None, pytest.TestReport, pytest.TestReport]:
    report = yield
    if report.skipped and not hasattr(report, "wasxfail") and os.environ.get(SAID) == "hardware":
        why = report.longrepr[2] if isinstance(report.longrepr, tuple) else str(report.longrepr)
        reason = why.removeprefix("Skipped: ")
        if reason.startswith("needs "):
            report.outcome = "failed"
            report.longrepr = f"skipped where it must run ({SAID}): it {reason}"
    return report
