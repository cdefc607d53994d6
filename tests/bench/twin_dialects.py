"""The same update, one device and ten properties with its answer awaited, natively and by each dialect in turns."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from statistics import median
from typing import Final

from tests.bench import plant
from tests.bench.figure import Figure, Scale
from tests.bench.load import connected, subscribed
from tests.bench.rig import broker, child, hub, module
from twin.wire.api import DocumentSource

_ROUNDS: Final = 5
_WARM_S: Final = 0.5
_MEASURE_S: Final = 2.0
_PLACE: Final = f"{plant.NAMESPACE}/{plant.name(0)}"


@dataclass(frozen=True, slots=True)
class Way:
    """One way to send the update: its topic, where the answer comes, the message by number, the number of an answer."""

    name: str
    topic: str
    answers: str
    message: Callable[[int], bytes]
    number: Callable[[bytes], int]


def _native(number: int) -> bytes:
    return plant.payload(0, number % 800_000, number, time.time_ns() // 1_000_000)


def _native_number(answer: bytes) -> int:
    stored: list[int] = json.loads(answer)["stored"]
    return stored[-1]


def _kubeedge(number: int) -> bytes:
    values = plant.values(0, number % 800_000)
    texts = {name: value if isinstance(value, str) else json.dumps(value) for name, value in values.items()}
    twin = {name: {"actual": {"value": text}} for name, text in texts.items()}
    return json.dumps({"event_id": str(number), "timestamp": number, "twin": twin}, separators=(",", ":")).encode()


def _kubeedge_number(answer: bytes) -> int:
    body = json.loads(answer)
    if "code" in body:
        sys.exit(f"refused: {answer.decode()}")
    return int(body["event_id"])


def _aws(number: int) -> bytes:
    state = {"reported": plant.values(0, number % 800_000)}
    return json.dumps({"state": state, "clientToken": str(number)}, separators=(",", ":")).encode()


def _aws_number(answer: bytes) -> int:
    return int(json.loads(answer)["clientToken"])


NATIVE: Final = Way("native", f"et/1/report/load/device/{_PLACE}", "et/1/ack/load", _native, _native_number)
DIALECTS: Final = (
    Way(
        "kubeedge",
        f"$hw/events/device/{_PLACE}/twin/update",
        f"$hw/events/device/{_PLACE}/twin/update/result",
        _kubeedge,
        _kubeedge_number,
    ),
    Way(
        "aws",
        f"$aws/things/{plant.NAMESPACE}:{plant.name(0)}/shadow/update",
        f"$aws/things/{plant.NAMESPACE}:{plant.name(0)}/shadow/update/accepted",
        _aws,
        _aws_number,
    ),
)
"""A dialect more is a ``Way`` more."""


async def dialects(scale: Scale) -> list[Figure]:
    """Rate of the native message over that of each dialect; the worst is the headline."""
    rates: dict[str, list[float]] = {way.name: [] for way in (NATIVE, *DIALECTS)}
    async with broker(scale.folder) as on, hub(scale.folder / "hub", on) as running:
        await running.client.apply([DocumentSource(name="plant.yaml", text=plant.documents(1))])
        for _round in range(_ROUNDS):
            for name, found in rates.items():
                argv = module("tests.bench.twin_dialects", *on.login, name)
                with child(argv, log=scale.folder / "load.log") as process:
                    found.append(float(await process.line(60.0)))
    costs = {way.name: median(a / b for a, b in zip(rates["native"], rates[way.name], strict=True)) for way in DIALECTS}
    says = (
        "rate of the native report over that of the same update by the dialect: one device, 10 properties, the answer"
        f" after the commit awaited before the next, median of {_ROUNDS} interleaved rounds of {_MEASURE_S:g} s"
    )
    return [
        Figure("twin.dialects.native", median(rates["native"]), "messages/s", "the native side of twin.dialects"),
        *(
            Figure(f"twin.dialects.{name}", cost, "x", f"{says}; {name}", reach=1.3, at_most=True)
            for name, cost in costs.items()
        ),
        Figure("twin.dialects", max(costs.values()), "x", f"{says}; the worst dialect", reach=1.3, at_most=True),
    ]


def main() -> None:
    """Send by one way until the time is over; prints messages a second."""
    port, user, password, name = sys.argv[1:]
    way = next(one for one in (NATIVE, *DIALECTS) if one.name == name)
    client = connected(int(port), user, password, f"load-{time.time_ns()}")
    answered: list[int] = []
    client.on_message = lambda _client, _user, message: answered.append(way.number(message.payload))
    subscribed(client, way.answers)
    number = time.time_ns() // 1_000_000
    began_s = measured_s = time.perf_counter()
    count = 0
    while (now_s := time.perf_counter()) < began_s + _WARM_S + _MEASURE_S:
        if count and measured_s == began_s and now_s >= began_s + _WARM_S:
            measured_s, count = now_s, 0
        number += 1
        client.publish(way.topic, way.message(number))
        while not answered or answered[-1] != number:
            client.loop(5.0)
            if time.perf_counter() > now_s + 10:
                sys.exit(f"no answer to {number}")
        count += 1
    sys.stdout.write(f"{count / (now_s - measured_s)}\n")
    client.disconnect()


if __name__ == "__main__":
    main()
