import asyncio
import logging

import pytest

from edgehub.beside import beside

pytestmark = pytest.mark.fast


async def test_it_has_ended_when_its_owner_has():
    begun, ended = asyncio.Event(), []

    async def work() -> None:
        begun.set()
        try:
            await asyncio.Event().wait()
        finally:
            await asyncio.sleep(0)  # what it does at its end is waited for
            ended.append(True)

    async with beside(work(), "work"):
        await begun.wait()
    assert ended == [True]


async def test_what_breaks_it_is_told_at_once_and_the_rest_goes_on(caplog):
    async def work() -> None:
        raise ZeroDivisionError

    with caplog.at_level(logging.ERROR):
        async with beside(work(), "health file"):
            for _ in range(3):  # it begins, fails, and is told
                await asyncio.sleep(0)
    (told,) = caplog.records
    assert "health file has broken off" in told.getMessage()
    assert told.exc_info[0] is ZeroDivisionError
