"""What values of settings have in common: addresses to listen at, and lists that the environment gives as JSON."""

from __future__ import annotations

import json
from functools import partial
from typing import Final
from urllib.parse import urlsplit

from pydantic import AfterValidator, BeforeValidator

from twin.manifest.fields import parsed_duration_ms

LOOPBACK: Final = {"127.0.0.1": "127.0.0.1", "localhost": "127.0.0.1", "::1": "::1"}
"""The hosts that only this machine reaches, each as a number."""


def split_address(listen: str) -> tuple[str, int]:
    """Host and port of a setting that was checked."""
    host, _, port = listen.rpartition(":")
    return host.strip("[]"), int(port)


def checked_address(listen: str, *, example: str) -> str:
    """Return the setting if it is host:port, or empty. Raises ValueError."""
    host, _, port = listen.rpartition(":")
    if listen and not (host and not host.startswith("-") and port.isdecimal() and 1 <= int(port) <= 65535):
        message = f"{listen!r} is not host:port; write {example}"
        raise ValueError(message)
    return listen


def seconds(duration: str) -> float:
    """A setting that was checked to be a duration, as a number."""
    return (parsed_duration_ms(duration) or 0) / 1000


def is_broker(url: str, *schemes: str) -> bool:
    """Whether it is SCHEME://HOST or SCHEME://HOST:PORT, with one of the schemes; a login may stand before the host."""
    try:
        parts = urlsplit(url)
        return parts.scheme in schemes and bool(parts.hostname) and parts.port != 0 and parts.path in ("", "/")
    except ValueError:  # of a host or a port that is none
        return False


def address_as(example: str) -> AfterValidator:
    """For a setting that is host:port, or empty."""
    return AfterValidator(partial(checked_address, example=example))


def _read(value: object) -> object:
    return json.loads(value) if isinstance(value, str) else value


JSON_IN_ENVIRONMENT: Final = BeforeValidator(_read)
"""For a setting with several values: an environment variable has one text, which is JSON."""
