"""What a gateway shall run and what it runs: leaves of its twin ``gateway/<namespace>/<gateway>``.

release   desired   Release         written by whoever wants it: a rollout of the cloud, or a person
          reported  Running         said by the gateway's updater: equal to what is desired once that is healthy
update    reported  ReleaseReport   said by it too: how far it is, and what went wrong

    idle ──> downloading ──> installing ──> trying ──> healthy
                 │               │             │
                 └─ failed       └─ refused    └─ rolled_back
"""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, Final, TypeVar

from pydantic import Field, ValidationError

from twin.errors import InvalidMessage
from twin.model import Access, PropertySpec, Value, ValueType
from twin.wire.codec import first_problem
from twin.wire.messages import Millis, Wire

RELEASE: Final = "release"
"""The property, desired and reported."""
UPDATE: Final = "update"
"""The property that says how far a gateway is with it."""
RELEASE_SPEC: Final = PropertySpec(RELEASE, ValueType.JSON, Access.READ_WRITE)
VERSION_RULE: Final = "1 to 64 characters A-Z, a-z, 0-9 and . + _ ~ -, a letter or digit first"
"""Of a version: it names folders, too."""
MAX_BUNDLE_BYTES: Final = 8 * 1024**3

_VERSION: Final = r"^[A-Za-z0-9][A-Za-z0-9.+_~-]{0,63}$"
_ORDER: Final = r"^[A-Za-z0-9._-]{0,64}$"

Version = Annotated[str, Field(pattern=_VERSION)]

W = TypeVar("W", bound=Wire)


class ReleaseState(StrEnum):
    """Where a gateway stands with the release that it shall run."""

    IDLE = "idle"  # nothing is asked of it
    DOWNLOADING = "downloading"
    INSTALLING = "installing"
    TRYING = "trying"  # it runs, and has still to prove itself
    HEALTHY = "healthy"  # it runs, and has proven itself
    ROLLED_BACK = "rolled_back"  # it ran, and did not prove itself: the one before runs again
    REFUSED = "refused"  # it is not for this gateway, or not what it says: nothing was installed
    FAILED = "failed"  # it could not be had or installed

    @property
    def settled(self) -> bool:
        """Whether the gateway is done with what was asked of it."""
        return self not in (ReleaseState.DOWNLOADING, ReleaseState.INSTALLING, ReleaseState.TRYING)

    @property
    def lost(self) -> bool:
        """Whether the gateway is done with it, and does not run it."""
        return self in (ReleaseState.ROLLED_BACK, ReleaseState.REFUSED, ReleaseState.FAILED)


class Release(Wire):
    """A release that a gateway shall run, and where its bundle is."""

    version: Version
    url: Annotated[str, Field(pattern="^https://[^/]", max_length=2000, description="of the bundle")]
    sha256: Annotated[str, Field(pattern="^[0-9a-f]{64}$", description="of the bundle")]
    size: Annotated[int, Field(ge=1, le=MAX_BUNDLE_BYTES, description="of the bundle, in bytes")]
    order: Annotated[
        str, Field(pattern=_ORDER, description="names this order; the same release ordered again has another")
    ] = ""


class Running(Wire):
    """The release that a gateway runs; of one that was ordered, all that was desired, so that the delta is empty."""

    version: Annotated[str, Field(max_length=64)]
    url: Annotated[str, Field(max_length=2000)] = ""
    sha256: Annotated[str, Field(max_length=64)] = ""
    size: Annotated[int, Field(ge=0, le=MAX_BUNDLE_BYTES)] = 0
    order: Annotated[str, Field(max_length=64)] = ""


class ReleaseReport(Wire):
    """What a gateway runs, and where it stands with what it shall run."""

    version: Annotated[str, Field(max_length=64, description="that runs")]
    slot: Annotated[str, Field(max_length=64, description="that it runs from")] = ""
    state: ReleaseState = ReleaseState.IDLE
    wanted: Annotated[str, Field(max_length=64, description="the version that `state` is about")] = ""
    order: Annotated[str, Field(max_length=64, description="the order that `state` is about")] = ""
    reason: Annotated[str, Field(max_length=1000, description="why it was rolled back, refused or failed")] = ""
    tries: Annotated[int, Field(ge=0, lt=2**31, description="how often the wanted release was started")] = 0
    at: Annotated[Millis, Field(description="since when `state` holds")] = 0


class Told(Wire):
    """All that an updater says: the two leaves."""

    release: Running
    update: ReleaseReport


def read_release(value: Value) -> Release:
    """Read what is desired of ``release``. Raises InvalidMessage that says what is wrong."""
    return _read(Release, value, "desired release")


def read_report(value: Value) -> ReleaseReport:
    """Read what is reported of ``update``. Raises InvalidMessage that says what is wrong."""
    return _read(ReleaseReport, value, "reported update")


def written(said: Release | Running | ReleaseReport) -> Value:
    """The value of the leaf."""
    return said.model_dump(mode="json", exclude_defaults=True)


def _read(model: type[W], value: Value, what: str) -> W:
    try:
        return model.model_validate(value)
    except ValidationError as error:
        message = f"{what}: {first_problem(error)}"
        raise InvalidMessage(message, remedy="docs/wire.md shows it.") from None
