"""The dashboard as the hub has it: there when somebody comes, gone when nobody looks, back when it was killed."""

import asyncio
import contextlib
import os
import random
import signal
import socket
import ssl

import httpx
import pytest

from edgehub.listeners import WebSettings
from edgehub.web import home
from edgehub.web.folder import WeakPassword, WebFolder, fingerprint
from edgehub.web.home import Web, WebPlace
from twin.broker_accounts import Account
from twin.clock import SystemClock
from twin.page.passwords import is_password
from twin.supervisor import Supervisor

WAIT_S = 40.0


@pytest.fixture
def folder(tmp_path):
    return WebFolder(tmp_path / "web")


@pytest.fixture
async def running(tmp_path, free_port):
    """Start the dashboard of a gateway whose broker is away; what needs none is served all the same."""
    async with contextlib.AsyncExitStack() as stack:
        supervisor = await stack.enter_async_context(Supervisor(clock=SystemClock(), rng=random.Random(1)))

        async def start(listen="", *, idle_s=60.0, first_s=60.0, **settings):
            broker = ("127.0.0.1", free_port())
            place = WebPlace("gw-1", tmp_path, broker, Account("web", "p"), "info", idle_s, first_s)
            made = Web(WebSettings(listen=listen or f"127.0.0.1:{free_port()}", **settings), tmp_path / "web", place)
            await stack.enter_async_context(made.running(supervisor))
            made.supervisor = supervisor
            return made

        yield start


def child(web):
    return next((one for one in web.supervisor.runners if one.child.name == "dashboard"), None)


async def until(condition):
    async with asyncio.timeout(WAIT_S):
        while not (found := condition()):  # noqa: ASYNC110 another process tells us nothing
            await asyncio.sleep(0.02)
    return found


async def get(url, **more):
    async with httpx.AsyncClient(timeout=WAIT_S, **more) as client:
        return await client.get(url)


async def login(web, password):
    client = httpx.AsyncClient(base_url=web.url, timeout=WAIT_S)
    answer = await client.post("/page/login", json={"name": "admin", "secret": password})
    return client, answer


async def test_the_first_who_comes_has_it_started_and_it_ends_when_nobody_looks(running):
    web = await running(idle_s=0.5)
    assert child(web) is None
    assert (await get(web.url)).status_code == 200
    first = await until(lambda: child(web) and child(web).pid)
    await until(lambda: child(web) is None)
    assert (await get(web.url)).status_code == 200
    assert await until(lambda: child(web) and child(web).pid) != first


async def test_a_page_that_was_killed_is_there_again_and_knows_who_was_logged_in(running, folder):
    web = await running()
    client, answer = await login(web, folder.unused_password())
    assert answer.status_code == 200
    killed = child(web).pid
    os.kill(killed, signal.SIGKILL)
    await until(lambda: child(web).pid not in (None, killed))
    assert (await client.get("/page/me")).status_code == 200
    await client.aclose()


async def test_the_first_password_is_told_until_somebody_has_used_it(running, folder):
    web = await running()
    password = folder.unused_password()
    assert folder.first_password.stat().st_mode & 0o777 == 0o600
    assert folder.login.stat().st_mode & 0o777 == 0o600
    assert password not in folder.kept()
    client, answer = await login(web, password)
    assert answer.status_code == 200
    assert folder.unused_password() == ""
    folder.draw()
    assert (await client.get("/page/me")).status_code == 401
    await client.aclose()
    client, answer = await login(web, password)
    assert answer.status_code == 401
    await client.aclose()


async def test_beyond_loopback_it_has_tls_with_the_certificate_whose_fingerprint_is_told(running, folder, free_port):
    port = free_port()
    web = await running(f"127.0.0.2:{port}", hosts=["gw.example"])
    assert web.url == f"https://127.0.0.2:{port}"
    context = ssl.create_default_context(cafile=str(folder.certificate))
    answer = await get(web.url, verify=context)
    assert answer.status_code == 200
    assert (await get(web.url, verify=context, headers={"host": "gw.example"})).status_code == 200
    assert (await get(web.url, verify=context, headers={"host": "evil.example"})).status_code == 421
    der = ssl.PEM_cert_to_DER_cert(await asyncio.to_thread(ssl.get_server_certificate, ("127.0.0.2", port)))
    assert ssl.PEM_cert_to_DER_cert(certificate_of(folder)) == der
    assert len(fingerprint(folder.certificate).split(":")) == 32
    assert folder.certificate.stat().st_mode & 0o777 == 0o600
    with pytest.raises(httpx.HTTPError):
        await get(f"http://127.0.0.2:{port}")


def certificate_of(folder):
    text = folder.certificate.read_text()
    return text[text.index("-----BEGIN CERTIFICATE-----") :]


async def test_on_loopback_a_port_that_is_taken_is_followed_by_the_next(running):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        web = await running(f"127.0.0.1:{port}")
    assert web.alarms() == []
    assert int(web.url.rpartition(":")[2]) > port
    assert (await get(web.url)).status_code == 200


async def test_elsewhere_a_port_that_is_taken_is_an_alarm_until_it_is_free(running, monkeypatch):
    monkeypatch.setattr(home, "RETRY_S", 0.05)
    with socket.socket() as taken:
        taken.bind(("127.0.0.2", 0))
        taken.listen()
        web = await running(f"127.0.0.2:{taken.getsockname()[1]}")
        assert "cannot listen" in web.alarms()[0]
        assert web.url == ""
    await until(lambda: not web.alarms())
    assert web.url.startswith("https://")


async def test_a_connection_that_asks_nothing_is_closed(running):
    web = await running(first_s=0.5)
    assert (await get(web.url)).status_code == 200
    reader, writer = await asyncio.open_connection("127.0.0.1", int(web.url.rpartition(":")[2]))
    writer.write(b"GET / HTTP/1.1\r\nHost: localhost\r\n")  # and never the end of it
    async with asyncio.timeout(WAIT_S):
        assert await reader.read() == b""
    writer.close()


async def test_a_certificate_that_is_none_is_an_alarm_and_no_more(running, tmp_path):
    (tmp_path / "cert.pem").write_text("no certificate")
    for certfile in (tmp_path / "cert.pem", tmp_path / "nothing.pem"):
        web = await running(certfile=str(certfile), keyfile=str(certfile))
        assert "dashboard is off" in web.alarms()[0]
        assert web.url == ""


async def test_a_login_that_cannot_be_kept_is_an_alarm_and_no_more(running, tmp_path):
    (tmp_path / "web").write_text("no folder")
    web = await running()
    assert "dashboard is off" in web.alarms()[0]
    assert web.url == ""


async def test_without_an_address_there_is_none(running, folder, tmp_path, free_port):
    place = WebPlace("gw-1", tmp_path, ("127.0.0.1", free_port()), Account("web", "p"))
    web = Web(WebSettings(listen=""), folder.path, place)
    async with Supervisor(clock=SystemClock(), rng=random.Random(1)) as supervisor, web.running(supervisor):
        assert (web.url, web.alarms()) == ("", [])
    assert not folder.path.exists()


def test_a_password_of_ones_own_has_a_least_length(folder):
    with pytest.raises(WeakPassword, match="10 to 1024"):
        folder.set("short")
    assert folder.kept() == ""
    folder.draw()
    folder.set("long enough now")
    assert is_password(folder.kept(), "long enough now")
    assert folder.unused_password() == ""


@pytest.mark.parametrize("content", [b"", b"\xff\xfe", b"rubbish"])
def test_a_login_that_cannot_be_read_lets_nobody_in(folder, content):
    folder.draw()
    folder.login.write_bytes(content)
    assert not is_password(folder.kept(), "")


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"listen": "8730"}, "host:port"),
        ({"certfile": "/x"}, "go together"),
        ({"hosts": ["a b"]}, "not the name of a host"),
        ({"hosts": ["a:80"]}, "without a port"),
    ],
)
def test_settings_that_make_no_sense_are_refused(settings, words):
    with pytest.raises(ValueError, match=words):
        WebSettings(**settings)
