"""A cloud of processes: joining, renewal, bad requests, children and parents killed, and no secret anywhere."""

import asyncio
import base64
import json
import os
import random
import signal
import socket
import ssl
import stat
import time
from pathlib import Path

import pytest
from cryptography import x509

from cloudsync.identity.credentials import Credentials
from edgehub.cloud_keys import CloudKeys
from edgehub.enrolment import join, renew
from edgehub.renewal import LOOK_S, REFUSED_S, Renewal
from edgehub.revocations import Revocations
from tests.cloudsync.mqtt5 import Client, Refused, tls
from tests.cloudsync.process import CANARY, CloudProcess, descendants
from twin.certificates import fingerprint, life
from twin.clock import SystemClock
from twin.errors import EdgetwinError, JoinRefused, LinkError, RenewalRefused
from twin.exchange import Hello, Run, Standing
from twin.link.mqtt import MqttLink, MqttOptions, TlsOptions
from twin.wire.enrolment import JoinToken
from twin.wire.sync import encode


@pytest.fixture(scope="module")
def cloud(tmp_path_factory):
    made = CloudProcess(
        tmp_path_factory.mktemp("cloud") / "state",
        EDGETWIN_CLOUD_LOG_LEVEL="debug",
        EDGETWIN_CLOUD_WEB_JOINS_PER_MINUTE="500",
        EDGETWIN_CLOUD_BROKER_USERNAME="nobody",
        EDGETWIN_CLOUD_BROKER_PASSWORD=CANARY,
    )
    made.run("cloud", "init")
    made.start()
    yield made
    assert made.stop() == 0, made.log.read_text()


@pytest.fixture
def own_cloud(tmp_path):
    made = CloudProcess(tmp_path / "state")
    made.run("cloud", "init")
    yield made
    if made.running:
        made.stop()


class ClockAhead(SystemClock):
    def __init__(self, days):
        self.days = days

    def now_us(self):
        return super().now_us() + int(self.days * 24 * 3600 * 1e6)


def token_of(cloud, gateway="", ttl_s=3600):
    """A join token; over HTTPS, which is quicker than a command."""
    api_token = Credentials.read(cloud.folder / "admin.json").api_token
    body = json.dumps({"gateway": gateway, "ttl_s": ttl_s}).encode()
    status, answer = cloud.fetch_json("/api/v1/identity/tokens", body, Authorization=f"Bearer {api_token}")
    assert status == 200, answer
    return answer["token"]


def gateway(cloud, folder, *words):
    return cloud.run(*words, check=False, EDGETWIN_STATE=str(folder), EDGETWIN_GATEWAY_NAME=folder.name)


async def connected(cloud, keys):
    context = tls(cloud.ca, keys.pair.read_text())
    return await Client.connect(cloud.gateways_port, "x", context=context)


async def joined(cloud, folder, name):
    keys = CloudKeys(folder / name / "keys")
    await join(JoinToken.read(token_of(cloud, name)), name, keys)
    return keys


async def test_a_gateway_joins_speaks_and_is_shut_out(cloud, tmp_path):
    folder = tmp_path / "hall-1"
    done = gateway(cloud, folder, "join", token_of(cloud))
    assert done.returncode == 0, done.stderr
    assert "gateway hall-1 has joined" in done.stdout
    keys = CloudKeys(folder / "keys")
    assert keys.connection().port == cloud.gateways_port
    assert {path.name: stat.S_IMODE(path.stat().st_mode) for path in keys.folder.iterdir()} == {
        "cloud-ca.pem": 0o600,
        "cloud.json": 0o600,
        "gateway.pem": 0o600,
    }
    assert "hall-1" in [one["name"] for one in cloud.json("cloud", "gateway", "list")["gateways"]]
    async with await connected(cloud, keys) as client:
        assert await client.publish("et/1/sync/hall-1/up") < 0x80
        assert cloud.run("cloud", "gateway", "revoke", "hall-1").returncode == 0
        assert await client.until_ended(5) is not None
    with pytest.raises(Refused):
        await connected(cloud, keys)
    with pytest.raises(RenewalRefused, match="revoked"):
        await renew(keys)


async def test_joining_twice_needs_to_be_said(cloud, tmp_path):
    folder = tmp_path / "hall-2"
    assert gateway(cloud, folder, "join", token_of(cloud)).returncode == 0
    again = gateway(cloud, folder, "join", token_of(cloud))
    assert again.returncode == 4
    assert "--again" in again.stderr
    done = gateway(cloud, folder, "join", token_of(cloud, "hall-2"), "--again", "--json")
    assert json.loads(done.stdout)["gateway"] == "hall-2"


def test_a_token_for_another_gateway_is_refused_and_one_for_a_gateway_without_a_name_tells_what_to_set(cloud, tmp_path):
    token = token_of(cloud, "hall-13")
    done = gateway(cloud, tmp_path / "hall-14", "join", token)
    assert done.returncode == 4
    assert "gateway.name: hall-13" in done.stderr
    named = {"EDGETWIN_STATE": str(tmp_path / "hall-14"), "EDGETWIN_GATEWAY_NAME": ""}
    done = cloud.run("join", token, **named)
    assert "set gateway.name: hall-13" in done.stderr
    assert "gateway hall-13 has joined" in done.stdout


def test_a_token_that_is_no_good_is_told_and_leaves_no_identity(cloud, tmp_path):
    folder = tmp_path / "hall-3"
    for text, said in (("nonsense", "no join token"), (token_of(cloud, ttl_s=1), "is over")):
        if said == "is over":
            time.sleep(1.0)
        done = gateway(cloud, folder, "join", text)
        assert done.returncode == 4
        assert said in done.stderr
    assert CloudKeys(folder / "keys").connection() is None
    made = cloud.json("cloud", "token", "create", "--gateway", "hall-3", "--ttl", "10m")
    assert JoinToken.read(made["token"]).gateway == made["gateway"] == "hall-3"
    cloud.run("cloud", "token", "revoke", made["id"])
    assert [one["state"] for one in cloud.json("cloud", "token", "list")["tokens"] if one["id"] == made["id"]] == [
        "revoked"
    ]
    assert cloud.run("cloud", "token", "create", "--ttl", "soon", check=False).returncode == 4
    assert cloud.run("cloud", "token", "create", "--gateway", "Hall/3", check=False).returncode == 4


async def test_nobody_passes_as_the_cloud(cloud, tmp_path):
    token = JoinToken.read(token_of(cloud))
    keys = CloudKeys(tmp_path / "keys")
    with pytest.raises(EdgetwinError, match="another CA"):
        await join(token.model_copy(update={"ca": "0" * 64}), "hall-4", keys)
    # The certificate is right, and the name that was dialled is none of its names.
    elsewhere = token.model_copy(update={"url": token.url.replace("localhost", "127.0.0.2")})
    with pytest.raises(LinkError):
        await join(elsewhere, "hall-4", keys)
    with pytest.raises(LinkError, match="no answer"):
        await join(token.model_copy(update={"url": "https://localhost:1"}), "hall-4", keys)
    assert keys.connection() is None
    assert (await join(token, "hall-4", keys)).gateway == "hall-4"


async def test_the_hub_renews_in_good_time_and_the_new_certificate_is_good(cloud, tmp_path):
    keys = await joined(cloud, tmp_path, "hall-5")
    before, changed = fingerprint(keys.pair.read_text()), keys.changed()
    assert await Renewal(keys, SystemClock(), random.Random(1)).step() == LOOK_S
    assert fingerprint(keys.pair.read_text()) == before
    renewal = Renewal(keys, ClockAhead(22.5), random.Random(1))
    assert await renewal.step() == LOOK_S
    assert fingerprint(keys.pair.read_text()) != before
    assert keys.changed() != changed
    assert life(keys.pair.read_text()).ends_at > time.time() * 1000 + 29 * 24 * 3600_000
    async with await connected(cloud, keys) as client:
        assert await client.publish("et/1/sync/hall-5/up") < 0x80
    cloud.run("cloud", "gateway", "revoke", "hall-5")
    refused = Renewal(keys, ClockAhead(22.5), random.Random(1))
    assert await refused.step() == REFUSED_S
    assert "revoked" in refused.failure


async def test_a_gateway_learns_which_others_are_revoked(cloud, tmp_path):
    keys, stolen = await joined(cloud, tmp_path, "hall-20"), await joined(cloud, tmp_path / "x", "hall-21")
    heard = Revocations(keys, random.Random(1))
    assert await heard.step()
    async with asyncio.timeout(20):
        while await heard.step():  # until it is told nothing new: others may have been revoked just before
            pass
    pair = stolen.pair.read_text()
    serial = x509.load_pem_x509_certificate(pair[pair.index("-----BEGIN CERT") :].encode()).serial_number

    def is_listed():
        return x509.load_pem_x509_crl(keys.revoked.read_bytes()).get_revoked_certificate_by_serial_number(serial)

    assert not is_listed()
    cloud.run("cloud", "gateway", "revoke", "hall-21")
    async with asyncio.timeout(20):
        while not is_listed():  # the cloud's brokers learn of it first
            await asyncio.sleep(0.1)
            await heard.step()


async def test_a_link_of_ours_connects_with_the_keys_and_finds_a_renewed_certificate(cloud, tmp_path):
    keys = await joined(cloud, tmp_path, "hall-10")
    place = keys.connection()
    assert keys.tls().server_name.endswith(".gateways.localhost")
    options = MqttOptions(place.host, place.port, place.gateway, tls=keys.tls(), retry_base_s=0.05)
    async with MqttLink(options) as link:
        await link.connected(10)
        await renew(keys)
        down = asyncio.Event()
        link.on_state(lambda _: down.set())
        async with await connected(cloud, keys):  # takes over the connection, and is itself taken over
            await asyncio.wait_for(down.wait(), 10)
            await link.connected(10)
    wrong = TlsOptions(keys.ca, keys.pair, keys.pair, "else.where").context()
    with (
        socket.create_connection(("127.0.0.1", place.port), 5) as plain,
        wrong.wrap_socket(plain, do_handshake_on_connect=False) as named,
        pytest.raises(ssl.SSLError, match="else"),
    ):
        named.do_handshake()


async def test_a_cloud_that_does_not_answer_is_asked_again(cloud, tmp_path):
    keys = await joined(cloud, tmp_path, "hall-6")
    place = json.loads(keys.place.read_text())
    keys.place.write_text(json.dumps(place | {"enrol_url": "https://localhost:1"}))
    renewal = Renewal(keys, ClockAhead(25), random.Random(1))
    assert 0 <= await renewal.step() <= 30
    assert 0 <= await renewal.step() <= 60
    assert "no answer" in renewal.failure
    keys.place.write_text(json.dumps(place))
    assert await renewal.step() == LOOK_S
    assert renewal.failure == ""


@pytest.mark.parametrize(
    ("body", "status", "code"),
    [
        (b"", 400, "invalid_message"),
        (b"[]", 400, "invalid_message"),
        (b"[" * 10_000, 400, "invalid_message"),
        (b'{"secret": "x", "secret": "y", "gateway": "gw", "csr": "x"}', 400, "invalid_message"),
        (b'{"secret": "x", "gateway": "gw", "csr": "x", "more": 1}', 400, "invalid_message"),
        (b'{"secret": "x", "gateway": "../gw", "csr": "x"}', 400, "invalid_name"),
        (b'{"secret": "x", "gateway": "gw", "csr": "x"}', 400, "invalid_message"),
        (b"x" * 16_385, 413, "too_large"),
        (b"x" * 5_000_000, 413, "too_large"),
    ],
)
def test_a_bad_request_is_told_what_is_wrong(cloud, body, status, code):
    for path in ("/identity/join", "/identity/renew"):
        try:
            found, answer = cloud.fetch_json(path, body)
        except OSError:  # the server closes on a body that goes on and on
            assert len(body) > 1_000_000
            continue
        if path == "/identity/join":
            assert (found, answer["code"]) == (status, code)
        assert found in (400, 413)
        assert answer["message"]
        assert answer["remedy"]


def test_a_place_that_is_not_there_is_told_as_an_error_of_ours(cloud):
    assert cloud.fetch_json("/nowhere")[0] == 404
    assert cloud.fetch_json("/identity/join")[1]["code"] == "http"
    assert "/identity/join" in cloud.fetch_json("/openapi.json")[1]["paths"]


async def test_a_user_has_what_mqtt_and_https_need(cloud, tmp_path):
    out = tmp_path / "anna.json"
    assert "credentials in" in cloud.run("cloud", "user", "add", "anna", "--role", "operator", "--out", str(out)).stdout
    assert stat.S_IMODE(out.stat().st_mode) == 0o600
    anna = Credentials.read(out)
    assert anna.url == f"https://localhost:{cloud.web_port}"
    context = tls(anna.ca, anna.certificate + anna.key)
    await asyncio.sleep(1.0)  # the broker learns of users within a second
    async with await Client.connect(anna.port, "app", context=context) as client:
        assert await client.publish("et/1/api/set/anna") < 0x80
        assert await client.publish("et/1/api/apply/anna") == 0x87
        cloud.run("cloud", "user", "revoke", "anna")
        assert await client.until_ended(5) is not None
    assert cloud.run("cloud", "user", "add", "anna", "--role", "boss", check=False).returncode == 2
    assert cloud.run("cloud", "user", "revoke", "nobody", check=False).returncode == 4
    assert cloud.run("cloud", "user", "add", "admin", "--role", "viewer", check=False).returncode == 4


def test_an_admin_does_over_https_what_the_commands_do(cloud, tmp_path):
    admin = {"Authorization": f"Bearer {Credentials.read(cloud.folder / 'admin.json').api_token}"}
    place = "/api/v1/identity"
    status, token = cloud.fetch_json(f"{place}/tokens", b'{"gateway": "hall-11"}', **admin)
    assert status == 200
    assert gateway(cloud, tmp_path / "hall-11", "join", token["token"]).returncode == 0
    assert token["id"] in [one["id"] for one in cloud.fetch_json(f"{place}/tokens", **admin)[1]["tokens"]]
    status, dora = cloud.fetch_json(f"{place}/users", b'{"name": "dora", "role": "operator"}', **admin)
    assert (status, dora["role"]) == (200, "operator")
    mine = {"Authorization": f"Bearer {dora['api_token']}"}
    for method, path, body in (
        ("GET", "tokens", None),
        ("POST", "tokens", b"{}"),
        ("DELETE", f"tokens/{token['id']}", None),
        ("POST", "users", b'{"name": "dora", "role": "admin", "replace": true}'),
        ("GET", "users", None),
        ("GET", "gateways", None),
        ("DELETE", "gateways/hall-11", None),
        ("DELETE", "users/admin", None),
    ):
        asked = {"method": method, "body": body}
        assert cloud.fetch_json(f"{place}/{path}", **asked, **mine)[0] == 403
        assert cloud.fetch_json(f"{place}/{path}", **asked)[1]["code"] == "unauthorized"
        assert cloud.fetch_json(f"{place}/{path}", **asked, Authorization="Bearer guess")[0] == 401
    assert cloud.fetch_json(f"{place}/gateways/hall-11", method="DELETE", **admin) == (200, {"revoked": "hall-11"})
    assert cloud.fetch_json(f"{place}/gateways/hall-12", method="DELETE", **admin)[0] == 404
    assert cloud.fetch_json(f"{place}/users", b'{"name": "dora", "role": "admin"}', **admin)[0] == 409
    assert cloud.fetch_json(f"{place}/users", b'{"name": "x/y", "role": "admin"}', **admin)[0] == 400
    assert cloud.fetch_json(f"{place}/users", b'{"name": "emil", "role": "king"}', **admin)[0] == 400
    found = cloud.fetch_json(f"{place}/gateways", **admin)[1]["gateways"]
    assert [one["revoked_at"] > 0 for one in found if one["name"] == "hall-11"] == [True]
    assert cloud.fetch_json(f"{place}/users/dora", method="DELETE", **admin)[0] == 200
    assert cloud.fetch_json(f"{place}/tokens", **mine)[0] == 401


def test_init_makes_no_second_ca(cloud):
    before = {path.name: path.read_bytes() for path in (cloud.folder / "ca").iterdir()}
    admin = (cloud.folder / "admin.json").read_bytes()
    assert cloud.json("cloud", "init")["made"] == []
    after = {path.name: path.read_bytes() for path in (cloud.folder / "ca").iterdir()}
    assert {name: after[name] for name in after if not name.endswith(".crl")} == {
        name: before[name] for name in before if not name.endswith(".crl")
    }
    assert (cloud.folder / "admin.json").read_bytes() == admin


def test_no_secret_is_where_it_does_not_belong(cloud, tmp_path):
    secret = JoinToken.read(token_of(cloud)).secret
    used = token_of(cloud)
    gateway(cloud, tmp_path / "hall-7", "join", used)
    cloud.run("cloud", "user", "add", "carl", "--role", "viewer", "--out", str(tmp_path / "carl.json"))
    carl, admin = Credentials.read(tmp_path / "carl.json"), Credentials.read(cloud.folder / "admin.json")
    keys = [path.read_text() for path in (cloud.folder / "ca").glob("*.key")] + [carl.key, admin.key]
    inner = [base64.b64encode(key.encode())[:40].decode() for key in keys]
    canaries = [CANARY, secret, JoinToken.read(used).secret, used, carl.api_token, admin.api_token, *inner]
    canaries += [line for key in keys for line in key.splitlines()[1:3]]  # the third is of the public half alone
    texts = {
        "log": cloud.log.read_bytes(),
        "status": cloud.run("cloud", "status", "--json", check=False).stdout.encode(),
    }
    for pid in descendants(cloud.process.pid):
        texts[f"argv of {pid}"] = Path(f"/proc/{pid}/cmdline").read_bytes()
        texts[f"environment of {pid}"] = Path(f"/proc/{pid}/environ").read_bytes()
    for path in cloud.folder.rglob("*"):
        if path.is_file() and path.name != "admin.json" and path.suffix != ".key":
            texts[str(path)] = path.read_bytes()
    for place in ("/openapi.json", "/identity/ca"):
        texts[place] = cloud.fetch(place)[1]
    texts["lists"] = "".join(
        cloud.run("cloud", kind, "list", "--json").stdout for kind in ("token", "gateway", "user")
    ).encode()
    assert len(texts) > 15
    found = [(place, canary) for place, text in texts.items() for canary in canaries if canary.encode() in text]
    assert found == []


def test_folders_and_files_are_for_nobody_else(cloud):
    for path in (cloud.folder, *cloud.folder.rglob("*")):
        mode = stat.S_IMODE(path.stat().st_mode)
        assert mode == (0o700 if path.is_dir() else 0o600), path


def test_only_one_runs_on_a_state_folder(cloud):
    done = cloud.run("cloud", "run", check=False)
    assert done.returncode == 5
    assert "another process runs a cloud" in done.stderr


async def test_children_that_are_killed_come_back(cloud, tmp_path):
    keys = await joined(cloud, tmp_path, "hall-8")
    for name, pid in cloud.children().items():
        os.kill(pid, signal.SIGKILL)
        async with asyncio.timeout(20):
            while True:
                try:
                    if name == "web":
                        assert (await asyncio.to_thread(cloud.fetch, "/identity/ca"))[0] == 200
                    else:
                        async with await connected(cloud, keys):
                            pass
                    break
                except (OSError, Refused):
                    await asyncio.sleep(0.1)


def test_a_parent_that_is_killed_takes_its_children_along_and_is_started_again(own_cloud):
    cloud = own_cloud
    assert cloud.run("cloud", "status", check=False).returncode == 3
    cloud.start()
    token = token_of(cloud)
    children = descendants(cloud.process.pid)
    assert len(children) >= 3
    cloud.stop(signal.SIGKILL)
    ends_s = time.monotonic() + 10
    while any(Path(f"/proc/{pid}/exe").exists() for pid in children):
        assert time.monotonic() < ends_s
        time.sleep(0.05)
    assert cloud.run("cloud", "status", check=False).returncode == 3
    cloud.start()
    assert gateway(cloud, cloud.folder.parent / "hall-9", "join", token).returncode == 0
    assert cloud.stop(signal.SIGTERM) == 0
    assert not list((cloud.folder / "run").rglob("passwords"))


def test_a_stranger_that_asks_too_often_is_told_to_wait(own_cloud):
    own_cloud.environment["EDGETWIN_CLOUD_WEB_JOINS_PER_MINUTE"] = "3"
    own_cloud.start()
    found = [own_cloud.fetch_json("/identity/join", b"{}")[0] for _ in range(4)]
    assert found == [400, 400, 400, 429]
    assert own_cloud.fetch("/identity/ca")[0] == 200


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ({}, "cloud init"),
        ({"EDGETWIN_CLOUD_STORE_URL": f"mysql://x:{CANARY}@h/d"}, "EDGETWIN_CLOUD_STORE_URL"),
        ({"EDGETWIN_CLOUD_BROKER_URL": f"mqtt://x:{CANARY}@h"}, "broker.username"),
        ({"EDGETWIN_CLOUD_BROKER_SHARDS": '["mqtt://h"]'}, "needs username and password"),
        ({"EDGETWIN_CLOUD_WORKERS": "-1"}, "EDGETWIN_CLOUD_WORKERS"),
        ({"EDGETWIN_CLOUD_BROKER_GATEWAYS": "8883"}, "host:port"),
    ],
)
def test_what_cannot_be_used_is_told_with_the_remedy(tmp_path, words, said):
    done = CloudProcess(tmp_path / "state", **words).run("cloud", "run", check=False)
    assert done.returncode in (4, 5)
    assert said in done.stderr
    assert CANARY not in done.stderr
    assert JoinRefused.code not in done.stderr


async def test_any_broker_that_is_named_is_used_and_told_who_is_who(tmp_path, broker):
    login = broker.account("workers", ("readwrite", "#"))
    gateway_login = broker.account("gw-1", ("readwrite", "#"))
    cloud = CloudProcess(
        tmp_path / "cloud",
        EDGETWIN_CLOUD_BROKER_URL=f"mqtt://127.0.0.1:{broker.port}",
        EDGETWIN_CLOUD_BROKER_USERNAME=login.name,
        EDGETWIN_CLOUD_BROKER_PASSWORD=login.password,
    )
    await asyncio.to_thread(cloud.run, "cloud", "init")
    await asyncio.to_thread(cloud.start)
    try:
        keys = CloudKeys(tmp_path / "gw-1" / "keys")
        token = JoinToken.read(await asyncio.to_thread(token_of, cloud, "gw-1"))
        assert token.port == broker.port
        await join(token, "gw-1", keys)
        said = Hello("n", Standing((Run("r", 1),), frozenset(), 0, 0))
        client = await Client.connect(broker.port, "gw-1", login=(gateway_login.name, gateway_login.password))
        async with client, asyncio.timeout(20):
            await client.subscribe("et/1/sync/gw-1/down")
            while "et/1/sync/gw-1/down" not in client.messages:
                await client.publish("et/1/sync/gw-1/up", encode(said))
                await asyncio.sleep(0.2)
        cloud.run("cloud", "user", "add", "anna", "--role", "viewer")
        async with asyncio.timeout(10):
            while "user anna" not in (cloud.folder / "export" / "users.acl").read_text():  # noqa: ASYNC110 a file tells nobody
                await asyncio.sleep(0.05)
        names = {path.name for path in (cloud.folder / "export").iterdir() if not path.name.startswith(".")}
        assert names == {f"{kind}.{end}" for kind in ("gateways", "users") for end in ("acl", "crl", "pem")}
        assert not {name for name in cloud.children() if name.startswith("mosquitto")}
    finally:
        await asyncio.to_thread(cloud.stop)
