"""The lock on a gateway's row: ticks taken in two transactions at once never cross."""

import asyncio

from twin.tick import Ticker


async def test_two_open_transactions_of_a_known_gateway_take_ticks_one_after_the_other(store):
    async with store.transaction("gw-1") as tx:
        tx.state.tick = 100
    taken = []

    async def take(hold_s):
        async with store.transaction("gw-1") as tx:
            ticker = Ticker(tx.state.tick)
            await asyncio.sleep(hold_s)  # whoever read the same tick by now would give it again
            tx.state.tick = ticker.take(0)
            taken.append(tx.state.tick)

    await asyncio.gather(take(0.2), take(0.1), take(0.0))
    assert sorted(taken) == [101, 102, 103]
    assert (await store.positions())["gw-1"].tick == 103
