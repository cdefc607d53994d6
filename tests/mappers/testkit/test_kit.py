"""The kit's own lines and its plugin: faults happen as they are named, and other test runs stay as they are."""

import asyncio
import os
import subprocess
import sys
import tty
from pathlib import Path

import pytest

from mappers.testkit.cable import PtyCable
from mappers.testkit.line import Ability
from mappers.testkit.proxy import TcpProxy

ROOT = Path(__file__).resolve().parents[3]


@pytest.fixture
async def echo():
    """A peer that says everything again."""

    async def serve(reader, writer):
        while chunk := await reader.read(4096):
            writer.write(chunk)
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    yield server.sockets[0].getsockname()
    server.close()


@pytest.fixture
async def proxy(echo, fault_proxy):
    async with fault_proxy(*echo) as made:
        yield made


async def asked(proxy: TcpProxy, text: bytes, wait_s: float = 0.3) -> bytes:
    reader, writer = await asyncio.open_connection(proxy.host, proxy.port)
    try:
        writer.write(text)
        async with asyncio.timeout(wait_s):
            return await reader.readexactly(len(text))
    except asyncio.IncompleteReadError as error:
        return error.partial
    finally:
        writer.transport.abort()


async def test_a_proxy_lets_everything_through_until_it_is_told_otherwise(proxy):
    assert await asked(proxy, b"hello") == b"hello"


async def test_a_frozen_proxy_takes_connections_and_carries_nothing(proxy):
    proxy.freeze()
    with pytest.raises(TimeoutError):
        await asked(proxy, b"hello", 0.1)
    await proxy.mend()
    assert await asked(proxy, b"hello") == b"hello"


async def test_a_proxy_cuts_within_an_answer(proxy):
    proxy.cut_within(2)
    assert await asked(proxy, b"hello") == b"he"


async def test_a_proxy_delays_and_throttles(proxy):
    loop = asyncio.get_running_loop()
    for slow in (lambda: proxy.delay(0.1), lambda: proxy.throttle(50)):
        slow()
        began_s = loop.time()
        assert await asked(proxy, b"hello", 2) == b"hello"
        assert loop.time() - began_s >= 0.08
        await proxy.mend()


async def test_a_proxy_refuses_on_the_port_that_it_has_and_comes_back_there(proxy):
    port = proxy.port
    reader, writer = await asyncio.open_connection(proxy.host, port)
    await proxy.refuse()
    with pytest.raises(ConnectionRefusedError):
        await asyncio.open_connection(proxy.host, port)
    assert await reader.read(1) == b""
    writer.close()
    await proxy.mend()
    assert proxy.port == port
    assert await asked(proxy, b"hello") == b"hello"


async def test_a_proxy_counts_and_makes_noise(proxy):
    reader, writer = await asyncio.open_connection(proxy.host, proxy.port)
    writer.write(b"x")
    assert await reader.readexactly(1) == b"x"
    assert proxy.standing == 1
    proxy.garbage(b"noise")
    assert await reader.readexactly(5) == b"noise"
    writer.transport.abort()


async def test_a_cable_carries_both_ways_freezes_and_can_be_pulled(fault_cable):
    ours, theirs = os.openpty()
    tty.setraw(theirs)
    os.set_blocking(ours, False)
    arrived = asyncio.Queue()
    loop = asyncio.get_running_loop()
    loop.add_reader(ours, lambda: arrived.put_nowait(os.read(ours, 100)))
    try:
        async with fault_cable(os.ttyname(theirs)) as cable:
            assert cable.abilities >= {Ability.CUT, Ability.GARBAGE}
            driver = os.open(cable.path, os.O_RDWR | os.O_NOCTTY | os.O_NONBLOCK)
            os.write(driver, b"ask")
            async with asyncio.timeout(2):
                assert await arrived.get() == b"ask"
            os.write(ours, b"answer")
            async with asyncio.timeout(2):
                while not (got := _read(driver)):  # noqa: ASYNC110
                    await asyncio.sleep(0.005)
            assert got == b"answer"
            cable.freeze()
            os.write(driver, b"lost")
            await asyncio.sleep(0.02)
            assert arrived.empty()
            await cable.refuse()
            assert not Path(cable.path).exists()
            os.close(driver)
            await cable.mend()
            assert Path(cable.path).exists()
            assert isinstance(cable, PtyCable)
    finally:
        loop.remove_reader(ours)
        os.close(ours)
        os.close(theirs)


def _read(handle: int) -> bytes:
    try:
        return os.read(handle, 100)
    except BlockingIOError:
        return b""


def test_the_plugin_imports_nothing_of_the_kit_and_adds_nothing_to_other_runs(tmp_path):
    (tmp_path / "test_other.py").write_text(
        "import sys\ndef test_it():\n"
        "    loaded = [one for one in sys.modules if one.split('.')[0] in ('mappers', 'twin', 'pydantic', 'asyncua')]\n"
        "    assert sorted(loaded) == ['mappers', 'mappers.testkit', 'mappers.testkit.plugin']\n"
    )
    argv = [
        sys.executable,
        "-m",
        "pytest",
        "-q",
        "-p",
        "mappers.testkit.plugin",
        "-p",
        "no:cacheprovider",
        str(tmp_path),
    ]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(argv, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stdout
    assert "contract" not in done.stdout


def test_without_being_asked_for_the_plugin_is_not_there(tmp_path):
    (tmp_path / "test_other.py").write_text("import sys\ndef test_it():\n    assert 'mappers' not in sys.modules\n")
    argv = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", str(tmp_path)]
    done = subprocess.run(argv, cwd=tmp_path, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stdout
