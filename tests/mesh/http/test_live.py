"""Changes while requests are under way: nothing is dropped, and what is new counts at once."""

from __future__ import annotations

import asyncio
from random import Random

import pytest

from mesh.model.programme import ProgrammeDelta
from mesh.model.routes import Backend, Rule
from tests.mesh.http.origins import Asked, Says, origin
from tests.mesh.http.site import Site, http_site, key, patient, until
from tests.mesh.http.wire import get, wire_to


async def test_new_rules_count_for_the_next_request_of_an_open_connection():
    async with origin(Says(body=b"one")) as one, origin(Says(body=b"two")) as two, http_site() as site:
        await site.backends(patient(), one=[one.port], two=[two.port])
        await site.rules(Rule((Backend(key("one")),)))
        async with wire_to(site.port) as wire:
            found = []
            for name in ("one", "two", "one"):
                await site.rules(Rule((Backend(key(name)),)))
                for _ in range(3):
                    wire.say(get())
                    found.append((await wire.answer()).body)
            await site.rules()
            wire.say(get())
            assert (await wire.answer()).status == 404
        assert found == [b"one"] * 3 + [b"two"] * 3 + [b"one"] * 3


async def test_an_endpoint_that_is_taken_away_finishes_what_it_has():
    going = asyncio.Event()

    async def answer(asked: Asked) -> Says:
        await going.wait()
        return Says(body=b"old")

    async with origin(answer) as old, origin(Says(body=b"new")) as new, http_site() as site:
        await site.serve(old.port, policy=patient())
        async with wire_to(site.port) as first, wire_to(site.port) as second:
            first.say(get())
            await until(lambda: old.asked)
            await site.backends(patient(), shop=[new.port])
            second.say(get())
            assert (await second.answer()).body == b"new"
            going.set()
            assert (await first.answer()).body == b"old"
            first.say(get())
            assert (await first.answer()).body == b"new"


async def test_a_service_that_goes_and_comes_back_is_found_again():
    async with origin() as there, http_site() as site:
        await site.serve(there.port, policy=patient())
        async with wire_to(site.port) as wire:
            for _ in range(2):
                wire.say(get())
                assert (await wire.answer()).status == 200
                site.upstreams.apply((), (key(),))
                wire.say(get())
                assert (await wire.answer()).status == 500
                await site.backends(patient(), shop=[there.port])


async def test_a_frontend_that_goes_ends_its_connections_after_their_answers():
    going = asyncio.Event()

    async def answer(asked: Asked) -> Says:
        await going.wait()
        return Says()

    async with origin(answer) as there, http_site() as site:
        await site.serve(there.port, policy=patient())
        async with wire_to(site.port) as busy, wire_to(site.port) as idle:
            busy.say(get())
            await until(lambda: there.asked)
            await site.plane.program(ProgrammeDelta(gone_frontends=(site.frontend_key,)))
            assert await idle.ended() == b""
            going.set()
            assert (await busy.answer()).headers["connection"] == "close"
            await site.rules(Rule((Backend(key()),)))
            async with wire_to(site.port) as again:
                again.say(get())
                assert (await again.answer()).status == 200


async def test_a_plane_that_closes_lets_requests_end():
    going = asyncio.Event()

    async def answer(asked: Asked) -> Says:
        await going.wait()
        return Says()

    async with origin(answer) as there, http_site() as site:
        await site.serve(there.port, policy=patient())
        async with wire_to(site.port) as busy, wire_to(site.port) as idle:
            busy.say(get())
            await until(lambda: there.asked)
            closing = asyncio.create_task(site.plane.close())
            assert await idle.ended() == b""
            going.set()
            got = await busy.answer()
            assert (got.status, got.headers["connection"]) == (200, "close")
            await closing
            assert await busy.ended() == b""


async def test_after_the_grace_a_plane_cuts_off_what_is_left():
    async def never(asked: Asked) -> Says:
        await asyncio.Event().wait()
        raise AssertionError

    async with origin(never) as there, http_site() as site:
        await site.serve(there.port, policy=patient())
        async with wire_to(site.port) as wire:
            wire.say(get())
            await until(lambda: there.asked)
            await site.plane.close()
            assert await wire.ended() == b""


async def load(site: Site, stop: asyncio.Event, found: list[int]) -> None:
    """Asks all the time, on a connection that is kept."""
    async with wire_to(site.port) as wire:
        number = 0
        while not stop.is_set():
            number += 1
            if number % 3:
                wire.say(get("/", f"X-N: {number}"))
                found.append((await wire.answer()).status)
            else:
                wire.say(get("/", "Content-Length: 3", method="PUT") + b"put")
                found.append((await wire.answer("PUT")).status)


async def changes(count: int, least: int) -> None:
    rng = Random(7)
    async with origin() as one, origin() as two, origin() as three, origin() as four, http_site() as site:
        ports = [one.port, two.port, three.port, four.port]
        await site.serve(*ports, policy=patient())
        stop = asyncio.Event()
        found: list[int] = []
        asking = [asyncio.create_task(load(site, stop, found)) for _ in range(4)]
        for number in range(count):
            before = len(found)
            await site.backends(patient(), shop=rng.sample(ports, rng.randint(1, 4)))
            if number % 10 == 0:
                await site.rules(Rule((Backend(key()),), name=str(number)))
            await until(lambda before=before: len(found) > before)
        stop.set()
        await asyncio.gather(*asking)
        assert len(found) >= least
        assert set(found) == {200}


async def test_changes_of_endpoints_under_load_fail_no_request():
    await changes(200, 200)


@pytest.mark.torture
async def test_a_thousand_changes_of_endpoints_under_load_fail_no_request():
    await changes(1000, 1000)


async def test_endpoints_that_close_connections_at_any_moment_fail_no_request():
    rng = Random(3)

    def answer(asked: Asked) -> Says:
        return Says(close=rng.random() < 0.3)

    async with origin(answer) as one, origin(answer) as two, http_site() as site:
        await site.serve(one.port, two.port, policy=patient())
        stop = asyncio.Event()
        found: list[int] = []
        asking = [asyncio.create_task(load(site, stop, found)) for _ in range(4)]
        await until(lambda: len(found) > 500)
        stop.set()
        await asyncio.gather(*asking)
        assert set(found) == {200}
