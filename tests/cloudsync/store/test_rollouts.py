"""Bundles and rollouts: one contract on either database."""

import asyncio
from dataclasses import replace

from cloudsync.store.rollouts import Bundle, Outcome, Phase, Place, Rollout
from twin.release import Release

SHA = "ab" * 32
PLACES = (
    Place("gw-1", 0, Outcome.LOST, 17, written=True, began=True, reason="mapper 'ü\0' is \"gone\""),
    Place("gw-2", 1),
)


def rollout(id_="r-1", **more):
    release = Release(version="2.0", url=f"https://cloud.example/bundles/{SHA}", sha256=SHA, size=9, order=id_)
    return replace(Rollout(id_, release, PLACES, ("canary", "100 %"), 1, 60_000, 5_000, made_at=7), **more)


async def test_bundles_come_newest_first_and_one_that_is_put_again_is_there_once(store):
    old = Bundle(SHA, 9, "1.0", "edgetwin", "a\0ü.edgetwin", added_at=1)
    new = Bundle("cd" * 32, 2**33, "2.0", added_at=2)
    for one in (old, new, new):
        await store.rollouts.put_bundle(one)
    assert await store.rollouts.bundles() == [new, old]
    await store.rollouts.put_bundle(replace(old, added_at=3))
    assert await store.rollouts.bundles() == [replace(old, added_at=3), new]
    for _ in range(2):
        await store.rollouts.drop_bundle(SHA)
    assert await store.rollouts.bundles() == [new]


async def test_a_rollout_is_kept_whole_and_the_newest_comes_first(store):
    assert await store.rollouts.put(rollout(), looked_after=True)
    assert await store.rollouts.put(rollout("r-2", made_at=8, phase=Phase.DONE, ended_at=9), looked_after=False)
    newer, older = await store.rollouts.rollouts()
    assert older == rollout(revision=1)
    assert newer == rollout("r-2", made_at=8, phase=Phase.DONE, ended_at=9, revision=1)
    assert await store.rollouts.rollouts(looked_after=True) == [older]


async def test_who_read_a_rollout_before_another_changed_it_writes_nothing(store):
    await store.rollouts.put(rollout(), looked_after=True)
    (read,) = await store.rollouts.rollouts()
    assert await store.rollouts.put(replace(read, phase=Phase.ABORTED), looked_after=True)
    assert not await store.rollouts.put(replace(read, phase=Phase.DONE), looked_after=False)
    assert not await store.rollouts.put(rollout(), looked_after=True)  # nor one who thinks that it is new
    (now,) = await store.rollouts.rollouts()
    assert (now.phase, now.revision) == (Phase.ABORTED, 2)


async def test_of_many_who_write_at_once_one_does(store):
    await store.rollouts.put(rollout(), looked_after=True)
    (read,) = await store.rollouts.rollouts()
    wrote = await asyncio.gather(*(store.rollouts.put(replace(read, why=str(n)), looked_after=True) for n in range(8)))
    assert sum(wrote) == 1
    (now,) = await store.rollouts.rollouts()
    assert now.why == str(wrote.index(True))
