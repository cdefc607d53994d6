"""A target that is away for long: the buffer is bounded, and every reading arrives, or is counted as dropped."""

import os
import random
import signal

from tests.edgehub.push.servers import moody_server
from tests.edgehub.push.site import push, site, until, view_of

MANY = 12_000
MIB = 1024 * 1024


async def test_a_buffer_that_overflows_drops_the_oldest_and_every_reading_is_accounted_for(tmp_path, free_port):
    port, rng = free_port(), random.Random(7)
    texts = [f"{number} {rng.randbytes(100).hex()}" for number in range(MANY)]
    document = push("http", f"{{url: 'http://127.0.0.1:{port}/x'}}", "buffer: {maxBytes: 1Mi}").replace("50,", "2000,")
    async with site(tmp_path / "s") as gateway:
        await gateway.follow(view_of(document))
        for start in range(0, MANY, 2000):
            await gateway.report(*texts[start : start + 2000], name="note")
            os.kill(gateway.child, signal.SIGKILL) if start == 4000 else None
        await until(lambda: gateway.told().get("dropped"), gateway.told)
        await until(lambda: gateway.told()["waiting"] + gateway.told()["dropped"] == MANY, gateway.told)
        told = gateway.told()
        assert told["waiting_bytes"] <= MIB
        (gap,) = told["gaps"]
        assert (gap["why"], gap["readings"]) == ("space", told["dropped"])
        assert any("has dropped" in alarm for alarm in gateway.door.alarms())
        async with moody_server(port) as moody:
            await until(
                lambda: gateway.told()["sent"] >= told["waiting"] and not gateway.told()["waiting"], gateway.told
            )
            arrived = list(dict.fromkeys(one["value"] for one in moody.readings()))
    places = [int(text.split()[0]) for text in arrived]
    assert places == sorted(places), "in order"
    assert arrived[-told["waiting"] :] == texts[-told["waiting"] :], "all that waited; and what was under way, perhaps"
