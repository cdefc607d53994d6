"""Tokens that prove themselves, and the files that hold them."""

import json
import ssl
import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgehub.kubeapi.home import KubeApi
from edgehub.kubeapi.keys import KeyFolder, Tokens, kubeconfig
from edgehub.listeners import KubeApiSettings
from twin.clock import SystemClock
from twin.manifest.catalog import RegistryView

TOKENS = Tokens(b"k" * 32)


@pytest.mark.fast
def test_a_token_is_good_for_its_holder_alone():
    assert TOKENS.is_good(TOKENS.local(), ())
    token = TOKENS.of_pod("u-1")
    assert TOKENS.is_good(token, ("u-2", "u-1"))
    assert not TOKENS.is_good(token, ("u-2",)), "its pod is gone"
    assert not Tokens(b"x" * 32).is_good(token, ("u-1",))
    holder, _, proof = token.partition(".")
    for wrong in ("", ".", "local", "local.", f"local.{proof}", holder, f"{holder}.", f"{token}0", token.upper()):
        assert not TOKENS.is_good(wrong, ("u-1",)), wrong


@pytest.mark.fast
@given(st.text(max_size=80))
def test_no_text_is_a_token(text):
    assert not TOKENS.is_good(text, ("u-1",))


@pytest.mark.fast
def test_the_key_is_made_once_and_a_broken_one_anew(tmp_path):
    folder = KeyFolder(tmp_path / "kube-api")
    first = folder.tokens()
    assert folder.tokens() == first
    assert (folder.path / "key").stat().st_mode & 0o777 == 0o600
    (folder.path / "key").write_text("zz")
    assert folder.tokens() != first


async def test_a_folder_that_cannot_be_made_is_an_alarm_and_nothing_more(tmp_path):
    (tmp_path / "kube-api").write_text("in the way")
    settings = KubeApiSettings(listen="127.0.0.1:1")
    api = KubeApi(settings, tmp_path / "kube-api", "gw-1", "9.9", RegistryView)
    async with api.running(None, SystemClock()):
        (alarm,) = api.alarms()
        assert "the Kubernetes API is off: its keys cannot be made" in alarm
        assert api.pods is None


@pytest.mark.fast
def test_a_file_that_is_right_is_not_written_again(tmp_path):
    folder = KeyFolder(tmp_path)
    folder.keep(folder.token, "a")
    before = folder.token.stat()
    folder.keep(folder.token, "a")
    assert folder.token.stat() == before
    folder.keep(folder.token, "b")
    assert folder.token.read_text() == "b"


@pytest.mark.fast
def test_a_kubeconfig_has_what_clients_need():
    config = json.loads(kubeconfig("https://127.0.0.1:1", "CA", "token"))
    assert config["current-context"] == config["contexts"][0]["name"]
    assert config["users"][0]["user"] == {"token": "token"}


def test_the_certificate_is_one_for_loopback_and_private(tmp_path):
    subprocess.run([sys.executable, "-m", "edgehub.kubeapi.certificate", str(tmp_path)], check=True)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["ca.crt", "server.pem"]
    assert (tmp_path / "server.pem").stat().st_mode & 0o777 == 0o600
    server, client = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER), ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    server.load_cert_chain(tmp_path / "server.pem")
    client.load_verify_locations(tmp_path / "ca.crt")
    client.verify_flags |= ssl.VERIFY_X509_STRICT
    for name in ("127.0.0.1", "localhost", "::1", "kubernetes.default.svc"):
        shake_hands(server, client, name)
    with pytest.raises(ssl.SSLCertVerificationError):
        shake_hands(server, client, "192.0.2.1")


def shake_hands(server: ssl.SSLContext, client: ssl.SSLContext, name: str) -> None:
    up, down = ssl.MemoryBIO(), ssl.MemoryBIO()
    ends = [
        client.wrap_bio(down, up, server_hostname=name),
        server.wrap_bio(up, down, server_side=True),
    ]
    for _ in range(4):
        for end in ends:
            try:
                end.do_handshake()
            except ssl.SSLWantReadError:
                continue


@pytest.mark.fast
@pytest.mark.parametrize("listen", ["0.0.0.0:10550", "192.0.2.1:1", "example.com:80", "127.0.0.1", "127.0.0.1:x"])
def test_it_listens_on_loopback_only(listen):
    with pytest.raises(ValueError, match=r"write 127\.0\.0\.1:10550"):
        KubeApiSettings(listen=listen)


@pytest.mark.fast
def test_addresses_of_the_listener():
    assert KubeApiSettings(listen="localhost:1").address == ("127.0.0.1", 1)
    assert KubeApiSettings(listen="[::1]:2").address == ("::1", 2)
