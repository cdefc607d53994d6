"""Secrets of pushes, read where they lie each time a target is opened; they stand in no document and no log."""

from __future__ import annotations

import os
from pathlib import Path

from edgehub.push.target import Broken
from twin.manifest.pushes import Secret


def secret_text(secret: Secret | None) -> str:
    """The secret itself; empty if there is none. Blocks. Raises Broken naming where it should be."""
    if secret is None:
        return ""
    if secret.env is not None:
        text = os.environ.get(secret.env, "").strip()
        if not text:
            message = f"the variable {secret.env} is not set in the hub's environment"
            raise Broken(message)
        return text
    path = Path(secret.file or "")
    try:
        text = path.read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        message = f"the secret in {path} cannot be read: {getattr(error, 'strerror', None) or error}"
        raise Broken(message) from None
    if not text:
        message = f"{path} is empty, and should hold a secret"
        raise Broken(message)
    return text
