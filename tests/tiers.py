"""Tests that need programs of the system, or root: skipped with the reason, or failed where they must run.

``EDGETWIN_TIERS=0,1``, set by the continuous integration, says that those tiers must not be skipped.
"""

from __future__ import annotations

import os
import shutil

import pytest

SAID = "EDGETWIN_TIERS"
_PATH = f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin"


def lacking(*programs: str, root: bool = False) -> str:
    """What is missing here of programs and rights; empty: nothing."""
    missing = [name for name in programs if shutil.which(name, path=_PATH) is None]
    if root and os.geteuid() != 0:
        missing.append("root")
    return ", ".join(missing)


def needs(*programs: str, root: bool = False, tier: int = 1) -> pytest.MarkDecorator:
    """Skip where something is missing; where the tier must run, the test runs and fails by what is missing."""
    missing = lacking(*programs, root=root)
    demanded = str(tier) in os.environ.get(SAID, "").split(",")
    return pytest.mark.skipif(bool(missing) and not demanded, reason=f"needs {missing}")
