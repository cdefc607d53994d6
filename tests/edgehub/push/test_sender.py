"""One push at work without a process: a target in memory, real queues."""

import asyncio
import random
from contextlib import asynccontextmanager, closing

import pytest
from pydantic import BaseModel

from edgehub.push.sender import Sender
from edgehub.push.setup import PushSetup
from edgehub.push.target import DELIVERED, Broken, Later, PushType, Refused
from tests.edgehub.push.site import until
from tests.twin.test_outbound import Queue, tick
from twin.clock import SystemClock
from twin.errors import StoreError
from twin.link.backoff import Backoff
from twin.sqlite_progress import Progress, ProgressFile, read_aside, read_progress

pytestmark = pytest.mark.fast


class Nothing(BaseModel):
    pass


class Scripted:
    """Answers as it is told: an outcome, an error to raise, ``hang``; then it takes everything."""

    def __init__(self, *answers) -> None:
        self.answers = list(answers)
        self.got: list[int] = []
        self.opened = 0

    async def send(self, batch):
        answer = self.answers.pop(0) if self.answers else DELIVERED
        if answer == "hang":
            await asyncio.sleep(3600)
        if isinstance(answer, Exception):
            raise answer
        taken = len(batch) if answer is DELIVERED else getattr(answer, "taken", 0)
        self.got += [one.tick for one in batch[:taken]]
        return answer

    @asynccontextmanager
    async def open(self, config, place):
        self.opened += 1
        yield self


@asynccontextmanager
async def sending(queue, target, folder, *, progress=None, wrap=None):
    file = ProgressFile(folder / "push.db")
    file.open()
    setup = PushSetup(
        queue=queue.number, name="plant/out", type="x", config={}, max_readings=10, wait_ms=10, timeout_ms=200
    )
    kept = wrap(file) if wrap else file
    backoff = Backoff(0.01, 0.05, random.Random(1))
    sender = Sender(
        *(setup, "gw-1", queue.reader, kept, progress or Progress("plant/out")),
        clock=SystemClock(),
        backoff=backoff,
        type_of=lambda name: PushType(Nothing, target.open),
    )
    task = asyncio.create_task(sender.run())
    try:
        yield sender
    finally:
        task.cancel()
        await asyncio.wait({task})
        file.close()
    assert task.cancelled()


@pytest.fixture
def queue(tmp_path):
    with closing(Queue(tmp_path)) as made:
        yield made


ANSWERS = [
    *(Later("x"), Later("x", taken=3), ValueError("oh"), "hang", Refused("no", taken=2), "what is this", None),
]


async def test_whatever_a_target_answers_each_reading_arrives_once_and_in_order(queue, tmp_path):
    target = Scripted(*ANSWERS)
    queue.put(60)
    async with sending(queue, target, tmp_path) as sender:
        await until(lambda: len(target.got) >= 60)
        await until(lambda: sender.progress.state == "idle")
    assert target.got == [tick(number) for number in range(60)]
    assert target.opened > 4
    (known,) = read_progress(tmp_path / "push.db").values()
    assert (known.cursor, known.sent, known.aside, known.why) == (tick(59), 60, 0, "")


async def test_what_is_damaged_is_counted_once_however_often_it_is_tried(queue, tmp_path):
    target = Scripted(Later("x"), Later("x"), Later("x"))
    queue.put(8)
    for number in (2, 7):
        queue.outbound._db.execute("UPDATE outbound SET value = 1e9 WHERE tick = ?", (tick(number),))
    async with sending(queue, target, tmp_path) as sender:
        await until(lambda: sender.progress.cursor == tick(7))
    assert sender.progress.lost == 2
    assert len(target.got) == 6


async def test_a_reading_that_is_refused_alone_is_kept_aside_with_the_reason(queue, tmp_path):
    target = Scripted(*[Refused("no such unit")] * 4)
    queue.put(10)
    async with sending(queue, target, tmp_path) as sender:
        await until(lambda: len(target.got) == 9)
    (aside,) = read_aside(tmp_path / "push.db", queue.number)
    assert (aside.tick, aside.why) == (tick(0), "no such unit")
    assert sender.progress.aside == 1


async def test_a_target_that_cannot_be_opened_says_why_and_is_tried_again(queue, tmp_path):
    target = Scripted()
    whole, tries = target.open, []

    @asynccontextmanager
    async def fails(config, place):
        tries.append(1)
        if len(tries) < 3:
            raise Broken("install something")
        async with whole(config, place) as opened:
            yield opened

    target.open = fails
    queue.put(1)
    async with sending(queue, target, tmp_path) as sender:
        await until(lambda: sender.progress.why == "install something" and sender.progress.state == "broken")
        await until(lambda: target.got)


async def test_a_disk_that_takes_no_progress_stops_no_delivery(queue, tmp_path):
    class Full:
        def put(self, *_):
            raise StoreError("database or disk is full")

    target = Scripted()
    queue.put(30)
    async with sending(queue, target, tmp_path, wrap=lambda _: Full()):
        await until(lambda: len(target.got) == 30)
    assert target.got == [tick(number) for number in range(30)]
    assert read_progress(tmp_path / "push.db") == {}


async def test_it_goes_on_behind_what_was_delivered(queue, tmp_path):
    target = Scripted()
    queue.put(10)
    async with sending(queue, target, tmp_path, progress=Progress("plant/out", cursor=tick(6))):
        await until(lambda: len(target.got) == 3)
    assert target.got == [tick(7), tick(8), tick(9)]


def test_a_progress_file_that_is_damaged_is_begun_anew(tmp_path):
    path = tmp_path / "push.db"
    path.write_bytes(b"this is no database, but long enough to be taken for the header of one" * 9)
    file = ProgressFile(path)
    file.open()
    file.put(1, Progress("a/b", cursor=5))
    file.put(2, Progress("a/c", cursor=6))
    assert file.load() == {1: Progress("a/b", cursor=5), 2: Progress("a/c", cursor=6)}
    file.keep_only({2})
    assert read_progress(path) == {2: Progress("a/c", cursor=6)}
    file.close()
    assert oct(path.stat().st_mode & 0o777) == "0o600"
