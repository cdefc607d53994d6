"""The line between a gateway and its cloud, to be cut, slowed and left half open; a thread of its own carries it."""

import asyncio
import contextlib
import threading


class Line:
    """A TCP proxy. All that it does to the bytes takes effect at once, for connections that stand too."""

    def __init__(self, target_port):
        self.target_port = target_port
        self.port = 0
        self.carried = 0
        self.delay_s = 0.0
        self.bytes_per_s = 0
        self.frozen = False
        self._up = True
        self._cut_at = None
        self._writers = set()
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._run, name="line", daemon=True)
        self._listening = threading.Event()

    def __enter__(self):
        self._thread.start()
        assert self._listening.wait(10)
        return self

    def __exit__(self, *_):
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(10)

    def cut(self):
        """Break all connections and refuse new ones."""
        self._up = False
        self._loop.call_soon_threadsafe(self._abort)

    def restore(self):
        self._up, self.frozen, self._cut_at = True, False, None
        self.delay_s, self.bytes_per_s = 0.0, 0

    def freeze(self):
        """Half open: nothing goes through any more, and nobody is told."""
        self.frozen = True

    def cut_after(self, count):
        """Break all connections once so many more bytes went through, wherever a packet is then."""
        self._cut_at = self.carried + count

    def _run(self):
        asyncio.set_event_loop(self._loop)
        server = self._loop.run_until_complete(asyncio.start_server(self._accept, "127.0.0.1", self.port))
        self.port = server.sockets[0].getsockname()[1]
        self._listening.set()
        self._loop.run_forever()
        server.close()
        self._abort()
        tasks = asyncio.all_tasks(self._loop)
        for task in tasks:
            task.cancel()
        self._loop.run_until_complete(asyncio.gather(*tasks, return_exceptions=True))
        self._loop.close()

    def _abort(self):
        for writer in self._writers:
            writer.transport.abort()

    async def _accept(self, reader, writer):
        if not self._up:
            writer.transport.abort()
            return
        with contextlib.suppress(OSError):
            far_reader, far_writer = await asyncio.open_connection("127.0.0.1", self.target_port)
            ends = {writer, far_writer}
            self._writers |= ends
            await asyncio.gather(self._carry(reader, far_writer), self._carry(far_reader, writer))
            self._writers -= ends
            return
        writer.transport.abort()

    async def _carry(self, reader, writer):
        with contextlib.suppress(OSError):
            while part := await reader.read(16 * 1024):
                if self.delay_s:
                    await asyncio.sleep(self.delay_s)
                if self.bytes_per_s:
                    await asyncio.sleep(len(part) / self.bytes_per_s)
                while self.frozen:  # noqa: ASYNC110  set by another thread
                    await asyncio.sleep(0.05)
                self.carried += len(part)
                if self._cut_at is not None and self.carried >= self._cut_at:
                    writer.write(part[: len(part) // 2])
                    self._cut_at = None
                    self._abort()
                    return
                writer.write(part)
                await writer.drain()
        writer.transport.abort()
