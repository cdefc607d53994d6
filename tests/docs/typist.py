"""Types the lines of the pages on a gateway's state folder."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Mapping
from pathlib import Path

from tests.typist import ROOT, typed


def run_edgetwin(
    state: Path,
    arguments: tuple[str, ...],
    environment: Mapping[str, str],
    timeout_s: float,
    folder: Path = ROOT,
) -> subprocess.CompletedProcess[str]:
    """Run one command to its end, or to Ctrl-C after ``timeout_s``."""
    wanted = {**os.environ, "EDGETWIN_STATE": str(state), **environment}
    return typed(arguments, wanted, timeout_s, folder=folder)
