"""A search for devices: what the user says becomes settings, a driver is opened, asked, and closed whatever ends it."""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
from collections.abc import AsyncGenerator, Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final, TypeVar

from pydantic import BaseModel, ValidationError

from mappers.sdk.bus import AnyDriver
from mappers.sdk.cancelled import Within
from mappers.sdk.capability import Discovering, FoundDevice, Progress
from mappers.sdk.driver import ConnectionConfig, Mapper, ScanConfig
from mappers.sdk.errors import InvalidSettings, MapperError, NotConnected
from twin.manifest.mistakes import worded, written_keys
from twin.manifest.problems import suggestion

log = logging.getLogger(__name__)

CONNECT_S: Final = 15.0
_CLOSE_S: Final = 2.0

M = TypeVar("M", bound=BaseModel)


@dataclass(frozen=True, slots=True)
class Search:
    """Where to look and how. ``written`` are the connection's keys as the user gave them."""

    mapper: Mapper
    connection: ConnectionConfig
    wanted: ScanConfig
    written: Mapping[str, Any]


def search_of(mapper: Mapper, given: Mapping[str, str]) -> Search:
    """Sort keys into those of the connection and of the scan. Raises InvalidSettings with every key that is wrong."""
    read = {key: _value(text) for key, text in given.items()}
    of_scan, of_connection = written_keys(mapper.scan), written_keys(mapper.connection)
    strange = [key for key in given if key not in of_connection and key not in of_scan]
    problems = [f"{key}: the key {key} is not known here\n  {_hint(key, mapper)}" for key in strange]
    written = {key: one for key, one in read.items() if key in of_connection}
    connection = _model(mapper.connection, written, problems)
    wanted = _model(mapper.scan, {key: one for key, one in read.items() if key in of_scan}, problems)
    if problems or connection is None or wanted is None:
        raise InvalidSettings("\n".join(dict.fromkeys(problems)))  # a key of both models is wrong in both
    return Search(mapper, connection, wanted, written)


async def devices(search: Search, tell: Callable[[Progress], None]) -> AsyncGenerator[FoundDevice, None]:
    """Devices as they are found. Raises MapperError; InvalidSettings if the mapper cannot look for devices."""
    driver = _driver(search)
    if not isinstance(driver, Discovering):
        message = f"mapper {search.mapper.name} cannot look for devices"
        raise InvalidSettings(message, remedy="`edgetwin mapper list` shows which can: those that offer discover.")
    try:
        await _connect(driver)
        async with contextlib.aclosing(driver.discover(search.wanted, tell)) as found:
            async for one in found:
                yield one
    except (MapperError, asyncio.CancelledError, GeneratorExit):
        raise
    except Exception as error:  # the boundary to plugins: a driver may raise anything
        log.debug("mapper %s failed", search.mapper.name, exc_info=True)
        message = f"mapper {search.mapper.name} failed: {type(error).__name__}: {error}"
        raise MapperError(message, remedy="This is a fault of the mapper; tell its authors.") from error
    finally:
        with contextlib.suppress(TimeoutError):
            async with Within(_CLOSE_S):
                await driver.close()


async def _connect(driver: AnyDriver) -> None:
    try:
        async with Within(CONNECT_S):
            await driver.connect()
    except TimeoutError as error:
        message = f"no connection within {CONNECT_S:g} s"
        raise NotConnected(message, remedy="Is it on, and is the address right?") from error


def _driver(search: Search) -> AnyDriver:
    try:
        return search.mapper.driver(search.connection)
    except Exception as error:  # the boundary to plugins: a driver's import or constructor may raise anything
        message = f"mapper {search.mapper.name} has no driver for it: {type(error).__name__}: {error}"
        raise InvalidSettings(message, remedy="Install what the mapper needs, or mend its settings.") from error


def _model(model: type[M], given: Mapping[str, Any], problems: list[str]) -> M | None:
    try:
        return model.model_validate(dict(given))
    except ValidationError as error:
        problems.extend(_told(error, model))
        return None


def _told(error: ValidationError, model: type[BaseModel]) -> Iterator[str]:
    for one in worded(error, model):
        place = ".".join(map(str, one.path))
        yield f"{place}: {one.text}\n  {one.remedy}" if place else f"{one.text}\n  {one.remedy}"


def _hint(key: str, mapper: Mapper) -> str:
    names = [
        str(field.alias or name)
        for model in (mapper.connection, mapper.scan)
        for name, field in model.model_fields.items()
    ]
    return suggestion(key, names, what="Keys are")


def _value(text: str) -> Any:
    """A list or map is written as JSON; all else is text, which the models read as what they want."""
    if not text.startswith(("[", "{")):
        return text
    try:
        return json.loads(text)
    except ValueError:
        return text
