"""systemd is told that the hub is up, and that it lives for as long as it answers; without systemd nobody is."""

from __future__ import annotations

import asyncio
import os
import socket

import pytest

from edgehub.notify import told_to_systemd
from tests.edgehub.listening import Listening

pytestmark = pytest.mark.fast


async def test_up_alive_and_stopping_are_told_one_after_another(tmp_path):
    async with Listening(tmp_path / "notify") as systemd:
        environment = {"NOTIFY_SOCKET": str(systemd.path), "WATCHDOG_USEC": "80000"}
        async with told_to_systemd(environment, answering):
            assert await systemd.next() == "READY=1"
            assert [await systemd.next() for _ in range(3)] == ["WATCHDOG=1"] * 3
        last = ""
        while last != "STOPPING=1":
            last = await systemd.next()


async def answering() -> bool:
    return True


async def test_nothing_is_told_while_the_broker_does_not_answer(tmp_path, caplog):
    answers = asyncio.Event()
    asked = asyncio.Event()

    async def answer() -> bool:
        asked.set()
        return answers.is_set()

    async with Listening(tmp_path / "notify") as systemd:
        environment = {"NOTIFY_SOCKET": str(systemd.path), "WATCHDOG_USEC": "40000"}
        async with told_to_systemd(environment, answer):
            assert await systemd.next() == "READY=1"
            for _ in range(5):
                asked.clear()
                await asked.wait()
            assert systemd.heard() == []
            answers.set()
            assert await systemd.next() == "WATCHDOG=1"
    assert caplog.text.count("does not answer") == 1


async def test_a_hub_without_a_watchdog_is_told_up_and_one_without_systemd_runs_on(tmp_path):
    async with Listening(tmp_path / "notify") as systemd:
        async with told_to_systemd({"NOTIFY_SOCKET": str(systemd.path)}, answering):
            assert await systemd.next() == "READY=1"
        assert await systemd.next() == "STOPPING=1"
    async with told_to_systemd({}, answering):
        pass
    async with told_to_systemd({"NOTIFY_SOCKET": str(tmp_path / "nobody")}, answering):
        pass


async def test_an_abstract_socket_is_one_too():
    name = f"@edgetwin-test-{os.getpid()}"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as receiver:
        receiver.bind("\0" + name[1:])
        receiver.settimeout(5)
        async with told_to_systemd({"NOTIFY_SOCKET": name}, answering):
            assert receiver.recv(100) == b"READY=1"
