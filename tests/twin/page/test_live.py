"""What an open page is told, and what is left of it when it is closed."""

import asyncio
from collections.abc import AsyncGenerator

import pytest
from pydantic import BaseModel

from twin.errors import LinkError
from twin.page.live import EventStream, Shared

pytestmark = pytest.mark.fast


class Said(BaseModel):
    number: int


async def test_a_failure_is_one_for_all_who_stand_in_line():
    asked = 0

    async def ask() -> Said:
        nonlocal asked
        asked += 1
        await asyncio.sleep(0)
        raise LinkError("the broker is away")

    shared = Shared(ask, fresh_s=3600)
    failures = await asyncio.gather(*(shared() for _ in range(60)), return_exceptions=True)
    assert asked == 1
    assert {str(one) for one in failures} == {"the broker is away"}


async def test_after_a_failure_it_is_asked_again():
    answers = [LinkError("the broker is away"), Said(number=1)]

    async def ask() -> Said:
        answer = answers.pop(0)
        if isinstance(answer, LinkError):
            raise answer
        return answer

    shared = Shared(ask, fresh_s=0)
    with pytest.raises(LinkError):
        await shared()
    assert await shared() == Said(number=1)


async def test_a_browser_that_goes_while_an_event_is_on_its_way_leaves_nothing_behind():
    ended, on_its_way, left = [], asyncio.Event(), []

    async def events() -> AsyncGenerator[bytes, None]:
        try:
            while True:
                yield b"event"
        finally:
            ended.append(True)

    async def receive() -> dict[str, str]:
        await on_its_way.wait()
        return {"type": "http.disconnect"}

    async def send(message: dict[str, object]) -> None:
        if message["type"] == "http.response.body":
            on_its_way.set()
            await asyncio.Event().wait()  # it takes nothing

    stream = EventStream(events(), lambda: left.append(True))
    await stream({}, receive, send)
    assert (ended, left) == ([True], [True])
