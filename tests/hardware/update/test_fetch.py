"""A bundle comes over a line that breaks, from a server that wants the gateway's certificate, and is the one wanted."""

from __future__ import annotations

import hashlib
import re
import shutil
import ssl
import threading
import time
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import SimpleNamespace

import pytest

from cloudsync.identity.ca import Authority
from hardware.errors import UpdateFailed
from hardware.update.fetch import BundleFolder, described, size_of
from hardware.update.machine import Wanted
from twin.certificates import new_key, request
from twin.errors import LinkError

pytestmark = pytest.mark.fast

CONTENT = bytes(range(256)) * 8000
SHA256 = hashlib.sha256(CONTENT).hexdigest()


@dataclass
class Server:
    """Serves one bundle. ``breaks_at``: bytes after which an answer breaks off; ``status`` instead of an answer."""

    url: str = ""
    ca: Path = Path()
    pair: Path = Path()
    content: bytes = CONTENT
    breaks_at: int = 0
    status: int = 0
    knows_ranges: bool = True
    begins: list[int] = field(default_factory=list)
    """Where each answer began."""

    def context(self) -> ssl.SSLContext:
        context = ssl.create_default_context(cafile=str(self.ca))
        context.load_cert_chain(self.pair)
        return context

    def wanted(self, **what: object) -> Wanted:
        given = {"version": "1.1.0", "sha256": SHA256, "size_bytes": len(CONTENT), "url": f"{self.url}/x", **what}
        return Wanted(**given)


@pytest.fixture
def server(tmp_path):
    now = int(time.time() * 1000)
    authority = Authority.create("cloud", now)
    certificate, key = authority.issue_server(["127.0.0.1"], now=now, days=2)
    own = new_key()
    mine, _ = authority.issue(request(own, "hall-7"), "hall-7", now=now, days=2)
    for name, text in (("ca", authority.certificate), ("server", key + certificate), ("gateway", own + mine)):
        (tmp_path / f"{name}.pem").write_text(text)
    server = Server(ca=tmp_path / "ca.pem", pair=tmp_path / "gateway.pem")

    class Answer(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            if server.status:
                self.send_error(server.status)
                return
            asked = re.fullmatch(r"bytes=(\d+)-", self.headers.get("Range", "")) if server.knows_ranges else None
            begin = int(asked[1]) if asked else 0
            server.begins.append(begin)
            self.send_response(206 if asked else 200)
            if asked:
                self.send_header("Content-Range", f"bytes {begin}-{len(server.content) - 1}/{len(server.content)}")
            self.send_header("Content-Length", str(len(server.content) - begin))
            self.end_headers()
            if self.command == "GET":
                end = begin + server.breaks_at if server.breaks_at else len(server.content)
                self.wfile.write(server.content[begin:end])

        do_HEAD = do_GET  # noqa: N815  # its name in http.server

        def log_message(self, *_: object) -> None:
            pass

    listener = ThreadingHTTPServer(("127.0.0.1", 0), Answer)
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH, cafile=str(server.ca))
    context.verify_mode = ssl.CERT_REQUIRED
    context.load_cert_chain(tmp_path / "server.pem")
    listener.socket = context.wrap_socket(listener.socket, server_side=True, do_handshake_on_connect=False)
    listener.handle_error = lambda *_: None
    thread = threading.Thread(target=listener.serve_forever, args=(0.02,))
    thread.start()
    server.url = f"https://127.0.0.1:{listener.server_port}"
    yield server
    listener.shutdown()
    thread.join()
    listener.server_close()


def fetch(folder: BundleFolder, wanted: Wanted) -> Path:
    return folder.fetch(wanted, lambda *_: None)


def test_a_bundle_is_fetched_with_the_certificate_of_the_gateway_and_kept_under_its_hash(server, tmp_path):
    folder = BundleFolder(tmp_path / "bundles", server.context)
    told: list[int] = []
    path = folder.fetch(server.wanted(), lambda done, of: told.append(done * 100 // of))
    assert path.read_bytes() == CONTENT
    assert path == folder.path(server.wanted())
    assert told == sorted(told)
    assert told[-1] == 100
    fetch(folder, server.wanted())
    assert server.begins == [0]  # it is there already
    folder.clear()
    assert not folder.folder.exists()


def test_a_stranger_gets_nothing(server, tmp_path):
    folder = BundleFolder(tmp_path / "bundles", lambda: ssl.create_default_context(cafile=str(server.ca)))
    with pytest.raises(LinkError, match="cannot be had"):
        fetch(folder, server.wanted())
    assert server.begins == []


def test_one_that_broke_off_is_gone_on_with_and_one_that_the_server_begins_anew_is_begun_anew(server, tmp_path):
    folder = BundleFolder(tmp_path / "bundles", server.context)
    server.breaks_at = 900_000
    for _ in range(2):
        with pytest.raises(LinkError, match=r"cannot be had|broke off"):
            fetch(folder, server.wanted())
    assert fetch(folder, server.wanted()).read_bytes() == CONTENT
    assert server.begins == [0, 900_000, 1_800_000]
    folder.clear()
    with pytest.raises(LinkError):
        fetch(folder, server.wanted())
    server.knows_ranges, server.breaks_at = False, 0
    assert fetch(folder, server.wanted()).read_bytes() == CONTENT


def test_what_is_not_what_was_asked_for_is_thrown_away(server, tmp_path):
    folder = BundleFolder(tmp_path / "bundles", server.context)
    server.content = CONTENT[:-1] + b"x"
    with pytest.raises(UpdateFailed, match="not the bundle that was asked for"):
        fetch(folder, server.wanted())
    assert list(folder.folder.iterdir()) == []
    server.content = CONTENT + b"more"
    with pytest.raises(UpdateFailed, match="larger than"):
        fetch(folder, server.wanted())


@pytest.mark.parametrize(("status", "error"), [(404, UpdateFailed), (410, UpdateFailed), (503, LinkError)])
def test_what_is_gone_is_given_up_and_what_is_busy_is_asked_for_again(server, tmp_path, status, error):
    server.status = status
    with pytest.raises(error, match=str(status)):
        fetch(BundleFolder(tmp_path / "bundles", server.context), server.wanted())


def test_a_part_of_another_bundle_makes_room(server, tmp_path):
    folder = BundleFolder(tmp_path / "bundles", server.context)
    folder.folder.mkdir()
    (folder.folder / "other.part").write_bytes(b"x")
    fetch(folder, server.wanted())
    assert [one.name for one in folder.folder.iterdir()] == [f"{SHA256}.bundle"]


def test_a_disk_without_room_is_noticed_before_anything_is_asked_for(server, tmp_path, monkeypatch):
    monkeypatch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(free=2**20))
    with pytest.raises(UpdateFailed, match="1 MiB free, the bundle needs"):
        fetch(BundleFolder(tmp_path / "bundles", server.context), server.wanted())
    assert server.begins == []


@pytest.mark.parametrize(
    "url",
    ["http://127.0.0.1/x", "https://127.0.0.1:99999/x", "https://[::1/x", "https://127.0.0.1/größe", "https://:1/"],
)
def test_what_is_no_address_is_given_up(tmp_path, url):
    folder = BundleFolder(tmp_path / "bundles", ssl.create_default_context)
    with pytest.raises(UpdateFailed, match="is no address to fetch from"):
        fetch(folder, Wanted("1", "a" * 64, 5, url=url))


def test_a_certificate_that_cannot_be_read_now_may_be_read_later(tmp_path):
    def context() -> ssl.SSLContext:
        return ssl.create_default_context(cafile=str(tmp_path / "missing.pem"))

    with pytest.raises(LinkError, match="certificate cannot be used"):
        fetch(BundleFolder(tmp_path / "bundles", context), Wanted("1", "a" * 64, 5, url="https://127.0.0.1/x"))


def test_a_server_says_how_large_a_bundle_is(server):
    assert size_of(f"{server.url}/x", server.context()) == len(CONTENT)


def test_a_bundle_may_be_a_file_which_is_copied_because_a_stick_is_pulled_out(tmp_path):
    source = tmp_path / "x.edgetwin"
    source.write_bytes(CONTENT)
    sha256, size = described(source)
    folder = BundleFolder(tmp_path / "bundles", ssl.create_default_context)
    assert fetch(folder, Wanted("1", sha256, size, file=str(source))).read_bytes() == CONTENT
    source.unlink()
    fetch(folder, Wanted("1", sha256, size, file=str(source)))
    folder.clear()
    with pytest.raises(UpdateFailed, match="cannot be read"):
        fetch(folder, Wanted("1", sha256, size, file=str(source)))
