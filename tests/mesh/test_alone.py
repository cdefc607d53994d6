"""python -m mesh: a table in a file is checked, carried out, and followed while it is changed by hand."""

import asyncio
import os
import signal
import subprocess
import sys

import pytest

from mesh.wire import write_table
from tests.mesh.owner import ROOT, Backend, free_port, greeting, until
from tests.mesh.tables import route, rule, service, table

ADDRESS = "127.96.77.9"
ENV = {**os.environ, "PYTHONPATH": str(ROOT)}


def mesh(*arguments):
    command = (sys.executable, "-m", "mesh", *map(str, arguments))
    return subprocess.run(command, env=ENV, capture_output=True, text=True, timeout=30, check=False)


def test_a_good_table_is_well(tmp_path):
    path = tmp_path / "web.json"
    path.write_bytes(write_table(table(service("web", "10.0.0.1:80"))))
    done = mesh("--table", path, "--check")
    assert (done.returncode, done.stdout) == (0, "well: 1 services, 0 routes, 1 frontends\n")


def test_what_is_wrong_is_said(tmp_path):
    path = tmp_path / "web.json"
    path.write_bytes(write_table(table(route("r", rule("nowhere")))))
    done = mesh("--table", path, "--check")
    assert done.returncode == 1
    assert "HTTPRoute default/r: BackendNotFound: there is no service default/nowhere" in done.stdout
    path.write_text("{")
    assert "is no JSON" in mesh("--table", path, "--check").stderr
    assert "cannot be read" in mesh("--table", tmp_path / "no.json").stderr


def test_the_help_holds_a_table_that_is_well(tmp_path):
    text = mesh("--help").stdout
    begin, end = text.index('{"services"'), text.index("\n\n", text.index('"policies"'))
    path = tmp_path / "example.json"
    path.write_text(text[begin:end])
    done = mesh("--table", path, "--check")
    assert (done.returncode, done.stdout) == (0, "well: 1 services, 1 routes, 1 frontends\n")


async def test_a_table_is_carried_out_and_followed_and_what_breaks_it_does_no_harm(tmp_path):
    path, port = tmp_path / "web.json", free_port(ADDRESS)

    def put(*places):
        path.write_bytes(write_table(table(service("web", *places, address=ADDRESS, port=port))))

    async def answers(name):
        return await greeting(ADDRESS, port) == name

    async with Backend("one") as one, Backend("two") as two:
        put(one.place)
        process = await start(path)
        await until(lambda: answers("one"))
        put(two.place)
        await until(lambda: answers("two"))
        path.write_text("{")
        process.send_signal(signal.SIGTERM)
        assert await process.wait() == 0
        process = await start(path)
        await until(lambda: answers("two"))
        process.send_signal(signal.SIGTERM)
        assert await process.wait() == 0


async def start(path):
    return await asyncio.create_subprocess_exec(sys.executable, "-m", "mesh", "--table", str(path), env=ENV)


def test_without_a_table_it_says_how():
    done = mesh()
    assert done.returncode == 2
    assert "--table" in done.stderr


pytestmark = pytest.mark.timeout(90)
