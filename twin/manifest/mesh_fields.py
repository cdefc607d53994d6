"""The field types of routes and policies."""

from __future__ import annotations

import re
from ipaddress import ip_address
from typing import Annotated, Any, Final

from pydantic import BeforeValidator, Field, StrictFloat, StrictInt

from twin.manifest.fields import refuse

LEFT_ASIDE: Final = "x-left-aside"
_TOKEN: Final = re.compile(r"[A-Za-z0-9!#$%&'*+\-.^_`|~]{1,256}")
_HOST: Final = re.compile(r"(?=.{1,253}\Z)[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?(\.[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?)*")
_METHODS: Final = ("GET", "HEAD", "POST", "PUT", "DELETE", "CONNECT", "OPTIONS", "TRACE", "PATCH")
_CONTROL: Final = re.compile(r"[\x00-\x08\x0a-\x1f\x7f]")


def left_aside(why: str) -> Any:
    """A field that is known and not carried out: it is read, and its writer is warned."""
    return Field(None, json_schema_extra={LEFT_ASIDE: why})


def is_host(value: str) -> bool:
    """Whether it is the name of one host: lower case, no wildcard, no address, no dot at the end."""
    return _HOST.fullmatch(value) is not None and not _is_address(value)


def _is_address(value: str) -> bool:
    try:
        ip_address(value)
    except ValueError:
        return False
    return True


def _host_pattern(value: object) -> object:
    if isinstance(value, str) and not is_host(value.removeprefix("*.")):
        if "*" in value.removeprefix("*."):
            refuse(value, "has a wildcard in the wrong place", "A wildcard is the whole first part: *.example.com.")
        refuse(value, "is not the name of a host", "Write lower case letters, such as shop.example.com, and no port.")
    return value


def _external(value: object) -> object:
    if isinstance(value, str):
        if _is_address(value):
            remedy = "Leave type out, and give the address in an EndpointSlice of this Service."
            refuse(value, "is an address, not a name", remedy)
        if not is_host(value.removesuffix(".")):
            refuse(value, "is not the name of a host", "Write one such as broker.example.com.")
    return value


def _token(value: object) -> object:
    if isinstance(value, str) and _TOKEN.fullmatch(value) is None:
        refuse(value, "is not the name of a header", "Write one such as X-Version.")
    return value


def _header_value(value: object) -> object:
    if isinstance(value, str) and (_CONTROL.search(value) or len(value) > 4096):
        refuse(value, "cannot stand in a header", "Write one line of at most 4096 characters.")
    return value


def _method(value: object) -> object:
    if isinstance(value, str) and value not in _METHODS:
        refuse(value, "is not a method", f"Use one of {', '.join(_METHODS)}.")
    return value


def _percent(value: object) -> object:
    if type(value) in (int, float) and not 0 <= value <= 100:  # type: ignore[operator]  # a number, then
        refuse(value, "is not between 0 and 100 percent", "Write a number such as 20.")
    return _number(value)


def _number(value: object) -> object:
    return float(value) if type(value) is int else value


HostPattern = Annotated[str, BeforeValidator(_host_pattern), Field(examples=["shop.example.com"])]
ExternalName = Annotated[str, BeforeValidator(_external), Field(examples=["broker.example.com"])]
HeaderName = Annotated[str, BeforeValidator(_token), Field(examples=["X-Version"])]
HeaderValue = Annotated[str, BeforeValidator(_header_value), Field(examples=["v2"])]
Method = Annotated[str, BeforeValidator(_method), Field(examples=["GET"])]
Percent = Annotated[StrictFloat, BeforeValidator(_percent), Field(examples=[20])]
Number = Annotated[StrictFloat, BeforeValidator(_number), Field(allow_inf_nan=False, examples=[5])]
Weight = Annotated[StrictInt, Field(ge=0, le=1_000_000, examples=[9])]
StatusCode = Annotated[StrictInt, Field(ge=200, le=599, examples=[503])]
Amount = Annotated[StrictInt, Field(ge=0, le=1_000_000_000, examples=[100])]
