"""Tests that need programs of the system: skipped with the reason, which begins with the word needs."""

from __future__ import annotations

import os
import shutil

import pytest

_PATH = f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin"


def needs(*programs: str) -> pytest.MarkDecorator:
    """Skip where one of these programs is missing."""
    missing = [name for name in programs if shutil.which(name, path=_PATH) is None]
    return pytest.mark.skipif(bool(missing), reason=f"needs {', '.join(missing)}")
