"""Every error of the kernel. One root, so that a caller can catch broadly or narrowly.

EdgetwinError                 code, remedy, and the text that says what failed and where
├── InvalidName               an id outside the grammar
├── InvalidMessage            bytes that are not a message of ours
│   └── TooLarge              over the size cap, refused before parsing
├── Refused                   a change the rules do not allow; nothing was stored
│   ├── UnknownTwin
│   ├── UnknownProperty
│   ├── InvalidQuery
│   ├── InvalidValue
│   ├── NotTheReporter
│   ├── NotAllowed
│   ├── CommandEnded
│   ├── VersionMismatch
│   ├── HistoryOff
│   └── IdentityRefused
│       ├── JoinRefused       a join token that does not let in
│       ├── RenewalRefused    a certificate that is not renewed
│       ├── NameTaken
│       └── UnknownAccount    no gateway, user or token of this name
├── StoreError                the disk did not take it; nothing is acknowledged
│   ├── StoreCorrupt
│   └── StoreTooNew
├── QueryAborted              a query that took too long, or had to wait too long
├── LinkError                 no connection to the broker
│   └── RequestTimeout        connected, but no answer
└── InvalidDocuments          documents that people wrote, with every problem found in them

An error crosses the wire as (code, message, remedy) and comes back as the class that owns the code.
"""

from __future__ import annotations

from typing import ClassVar


class EdgetwinError(Exception):
    """Root of all errors; the text says what failed and where, ``remedy`` what to do."""

    code: ClassVar[str] = "error"

    def __init__(self, message: str, *, remedy: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.remedy = remedy

    def __str__(self) -> str:
        return f"{self.message}\n  {self.remedy}" if self.remedy else self.message


class InvalidName(EdgetwinError):
    """An id that does not fit the grammar."""

    code = "invalid_name"

    def __init__(self, *, what: str, text: str, rule: str) -> None:
        super().__init__(f"{what} {shown(text)} is not a valid name", remedy=f"Use {rule}.")


class InvalidMessage(EdgetwinError):
    """Bytes that are not a message of ours."""

    code = "invalid_message"


class TooLarge(InvalidMessage):
    """A payload over its cap; it was not parsed."""

    code = "too_large"


class Refused(EdgetwinError):
    """A change the rules do not allow; nothing was stored."""

    code = "refused"


class UnknownTwin(Refused):
    """No such twin here."""

    code = "unknown_twin"


class UnknownProperty(Refused):
    """The device model has no such property."""

    code = "unknown_property"


class InvalidValue(Refused):
    """A value outside the rules of its property."""

    code = "invalid_value"


class InvalidQuery(Refused):
    """A query outside the language; the text has the position and the reason."""

    code = "invalid_query"


class NotTheReporter(Refused):
    """A reported value from another than the device's gateway."""

    code = "not_the_reporter"


class NotAllowed(Refused):
    """The account may not ask for this."""

    code = "not_allowed"


class CommandEnded(Refused):
    """A command that its gateway did not carry out: it had expired, or the gateway refused it."""

    code = "command_ended"


class VersionMismatch(Refused):
    """The caller's version is not the current one."""

    code = "version_mismatch"


class HistoryOff(Refused):
    """The property keeps no history, and none is left from before."""

    code = "history_off"


class IdentityRefused(Refused):
    """Not with this identity; nothing was changed."""

    code = "identity_refused"


class JoinRefused(IdentityRefused):
    """A join token that does not let in."""

    code = "join_refused"


class RenewalRefused(IdentityRefused):
    """A certificate that is not renewed."""

    code = "renewal_refused"


class NameTaken(IdentityRefused):
    """Another gateway or user has the name."""

    code = "name_taken"


class UnknownAccount(IdentityRefused):
    """No gateway, user or token of this name."""

    code = "unknown_account"


class StoreError(EdgetwinError):
    """The disk did not take it; nothing is acknowledged."""

    code = "store"


class StoreCorrupt(StoreError):
    """A store file that is not readable as what it should be."""

    code = "store_corrupt"


class StoreTooNew(StoreError):
    """A store written by a later release."""

    code = "store_too_new"


class QueryAborted(EdgetwinError):
    """A query that took too long, or had to wait too long for others."""

    code = "query_aborted"


class LinkError(EdgetwinError):
    """No connection to the broker."""

    code = "link"


class RequestTimeout(LinkError):
    """No answer in time."""

    code = "timeout"


class InvalidDocuments(EdgetwinError):
    """Documents that people wrote, refused as a whole; the text lists every problem."""

    code = "invalid_documents"


_BY_CODE: dict[str, type[EdgetwinError]] = {}


def error_from_wire(code: str, message: str, remedy: str) -> EdgetwinError:
    """Rebuild the error that a peer sent; an unknown code gives the root class."""
    if not _BY_CODE:
        _register(EdgetwinError)
    cls = _BY_CODE.get(code, EdgetwinError)
    error = cls.__new__(cls)
    EdgetwinError.__init__(error, message, remedy=remedy)
    return error


def shown(text: str, limit: int = 80) -> str:
    """Quote text for a message, cut to a length that fits a line."""
    return repr(text) if len(text) <= limit else f"{text[:limit]!r}... ({len(text)} characters)"


def _register(cls: type[EdgetwinError]) -> None:
    _BY_CODE[cls.code] = cls
    for child in cls.__subclasses__():
        _register(child)
