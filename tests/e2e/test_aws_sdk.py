"""AWS's own Python client over mutual TLS against a running gateway; the certificates are the test's."""

from __future__ import annotations

import asyncio
import datetime
import ipaddress
import queue
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from awscrt import exceptions, mqtt
from awsiot import iotshadow, mqtt_connection_builder
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from tests.e2e.rig import Hub
from tests.e2e.shadows import account, with_lamp

QOS = mqtt.QoS.AT_LEAST_ONCE


class Authority:
    """A CA of one test."""

    def __init__(self, folder: Path, name: str = "ca") -> None:
        self.folder = folder
        self.file = folder / f"{name}.crt"
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, f"test {name}")])
        made = self._certificate(self._name, self._key.public_key())
        signed = made.add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        self.file.write_bytes(signed.sign(self._key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM))

    def issue(self, name: str, *, file: str = "") -> tuple[Path, Path]:
        """A certificate of this common name, good for localhost, and its key."""
        key = ec.generate_private_key(ec.SECP256R1())
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        names = [x509.DNSName("localhost"), x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]
        made = self._certificate(subject, key.public_key())
        made = made.add_extension(x509.SubjectAlternativeName(names), critical=False)
        certificate, private = self.folder / f"{file or name}.crt", self.folder / f"{file or name}.key"
        certificate.write_bytes(made.sign(self._key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM))
        private.write_bytes(
            key.private_bytes(
                serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
            )
        )
        return certificate, private

    def _certificate(self, subject: x509.Name, key: ec.EllipticCurvePublicKey) -> x509.CertificateBuilder:
        now = datetime.datetime.now(datetime.UTC)
        return (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(self._name)
            .public_key(key)
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - datetime.timedelta(hours=1))
            .not_valid_after(now + datetime.timedelta(days=1))
        )


class Tls:
    """A gateway with a TLS listener, and its CA."""

    def __init__(self, hub: Hub, port: int, authority: Authority) -> None:
        self.hub = hub
        self.port = port
        self.authority = authority

    @contextmanager
    def connection(self, name: str, *, authority: Authority | None = None) -> Iterator[mqtt.Connection]:
        certificate, key = (authority or self.authority).issue(name, file=f"client-{name}")
        made = mqtt_connection_builder.mtls_from_path(
            endpoint="localhost",
            port=self.port,
            ca_filepath=str(self.authority.file),
            cert_filepath=str(certificate),
            pri_key_filepath=str(key),
            client_id=f"client-{name}",
            clean_session=True,
        )
        made.connect().result(15)
        try:
            yield made
        finally:
            made.disconnect().result(15)


@pytest.fixture
def tls(stopped_hub: Hub, tmp_path: Path, free_port: Callable[[], int]) -> Tls:
    authority = Authority(tmp_path)
    certificate, key = authority.issue("gateway")
    port = free_port()
    stopped_hub.environment |= {
        "EDGETWIN_BROKER_TLS_LISTEN": f"127.0.0.1:{port}",
        "EDGETWIN_BROKER_TLS_CERTFILE": str(certificate),
        "EDGETWIN_BROKER_TLS_KEYFILE": str(key),
        "EDGETWIN_BROKER_TLS_CAFILE": str(authority.file),
    }
    return Tls(stopped_hub, port, authority)


class Shadows:
    """AWS's shadow client with every answer in one queue, in the order of arrival."""

    def __init__(self, connection: mqtt.Connection, name: str | None = None) -> None:
        self.client = iotshadow.IotShadowClient(connection)
        self.heard: queue.Queue[tuple[str, object]] = queue.Queue()
        self._name = name
        kind = "Named" if name else ""
        for verb, answers in (
            ("Update", ("accepted", "rejected")),
            ("Get", ("accepted", "rejected")),
            ("Delete", ("accepted", "rejected")),
        ):
            for answer in answers:
                self._subscribe(
                    f"{verb.lower()}_{kind.lower()}_shadow_{answer}".replace("__", "_"), f"{verb}{kind}Shadow"
                )
        self._subscribe(f"{kind.lower()}_shadow_delta_updated_events".lstrip("_"), f"{kind}ShadowDeltaUpdated")
        self._subscribe(f"{kind.lower()}_shadow_updated_events".lstrip("_"), f"{kind}ShadowUpdated")

    def _subscribe(self, topic: str, request: str) -> None:
        made = getattr(iotshadow, f"{request}SubscriptionRequest")(**self._names())
        subscribe = getattr(self.client, f"subscribe_to_{topic}")
        future, _ = subscribe(made, QOS, lambda body, topic=topic: self.heard.put((topic, body)))
        future.result(15)

    def _names(self) -> dict[str, str]:
        return {"thing_name": "lamp"} | ({"shadow_name": self._name} if self._name else {})

    def update(self, version: int | None = None, token: str | None = None, **state: object) -> None:
        kind = iotshadow.UpdateNamedShadowRequest if self._name else iotshadow.UpdateShadowRequest
        request = kind(state=iotshadow.ShadowState(**state), version=version, client_token=token, **self._names())
        publish = self.client.publish_update_named_shadow if self._name else self.client.publish_update_shadow
        publish(request, QOS).result(15)

    def get(self) -> object:
        kind = iotshadow.GetNamedShadowRequest if self._name else iotshadow.GetShadowRequest
        publish = self.client.publish_get_named_shadow if self._name else self.client.publish_get_shadow
        publish(kind(**self._names()), QOS).result(15)
        return self.next()

    def delete(self) -> object:
        kind = iotshadow.DeleteNamedShadowRequest if self._name else iotshadow.DeleteShadowRequest
        publish = self.client.publish_delete_named_shadow if self._name else self.client.publish_delete_shadow
        publish(kind(**self._names()), QOS).result(15)
        return self.next()

    def next(self) -> tuple[str, object]:
        return self.heard.get(timeout=15)


@pytest.mark.parametrize("name", [None, "WifiConfig"], ids=["classic", "named"])
async def test_awss_client_gets_updates_and_deletes_a_shadow_over_mutual_tls(tls: Tls, name: str | None) -> None:
    account(tls.hub, "lamp", "lamp")
    await with_lamp(tls.hub)

    def play() -> None:
        infix = "named_" if name else ""
        with tls.connection("lamp") as connection:
            shadows = Shadows(connection, name)
            topic, body = shadows.get()
            assert (topic, body.code) == (f"get_{infix}shadow_rejected", 404)
            shadows.update(desired={"on": True, "rgb": {"r": 1, "g": 2}}, token="t1")
            (first, delta), (second, accepted), (third, documents) = (shadows.next() for _ in range(3))
            assert first == f"{infix}shadow_delta_updated_events"
            assert second == f"update_{infix}shadow_accepted"
            assert third == f"{infix}shadow_updated_events"
            assert delta.state == {"on": True, "rgb": {"r": 1, "g": 2}}
            assert (accepted.client_token, accepted.version) == ("t1", delta.version)
            assert documents.current.version == documents.previous.version + 1
            assert documents.current.metadata.desired["rgb"]["g"]["timestamp"] > 1_000_000_000

            shadows.update(version=accepted.version + 1, reported={"on": True}, token="t2")
            topic, body = shadows.next()
            assert (topic, body.code, body.client_token) == (f"update_{infix}shadow_rejected", 409, "t2")

            shadows.update(version=accepted.version, reported={"on": True, "rgb": {"r": 1}})
            (first, delta), (second, accepted), _ = (shadows.next() for _ in range(3))
            assert delta.state == {"rgb": {"g": 2}}
            assert second == f"update_{infix}shadow_accepted"

            topic, body = shadows.get()
            assert topic == f"get_{infix}shadow_accepted"
            assert body.state.desired == {"on": True, "rgb": {"r": 1, "g": 2}}
            assert body.state.reported == {"on": True, "rgb": {"r": 1}}
            assert body.state.delta == {"rgb": {"g": 2}}
            topic, body = shadows.delete()
            assert topic == f"delete_{infix}shadow_accepted"
            assert body.version >= accepted.version
            topic, body = shadows.get()
            assert (topic, body.code) == (f"get_{infix}shadow_rejected", 404)

    await asyncio.to_thread(play)


async def test_what_the_command_line_sets_reaches_awss_client(tls: Tls) -> None:
    account(tls.hub, "lamp", "lamp")
    await with_lamp(tls.hub)

    def play() -> None:
        with tls.connection("lamp") as connection:
            shadows = Shadows(connection)
            shadows.update(reported={"level": 1})
            shadows.next(), shadows.next()
            assert tls.hub.run("set", "lamp", "level=40", "--wait", "0").returncode == 0
            topic, body = shadows.next()
            assert (topic, body.state) == ("shadow_delta_updated_events", {"level": 40})

    await asyncio.to_thread(play)


@pytest.mark.parametrize("name", ["hub", "cli", "mapper", "lamp"])
async def test_a_certificate_without_an_account_may_do_nothing_not_even_with_a_name_of_the_hubs(
    tls: Tls, name: str
) -> None:
    await with_lamp(tls.hub)

    def play() -> None:
        heard: queue.Queue[str] = queue.Queue()
        with tls.connection(name) as connection:
            for topic in ("#", "$aws/#", "et/1/delta/#"):
                connection.subscribe(topic, QOS, lambda topic, **_: heard.put(topic))[0].result(15)
            for topic in ("$aws/things/lamp/shadow/update", "$aws/things/lamp/shadow/get"):
                connection.publish(topic, '{"state":{"desired":{"on":true}}}', QOS)[0].result(15)
            assert tls.hub.run("set", "lamp", "level=40", "--wait", "0").returncode == 0
        assert heard.empty()

    await asyncio.to_thread(play)
    async with tls.hub.client() as client:
        assert (await client.get("lamp")).desired.keys() == {"level"}


async def test_a_certificate_of_another_ca_is_not_admitted(tls: Tls, tmp_path: Path) -> None:
    await with_lamp(tls.hub)
    (tmp_path / "others").mkdir()
    stranger = Authority(tmp_path / "others", "stranger")

    def play() -> None:
        with pytest.raises(exceptions.AwsCrtError), tls.connection("lamp", authority=stranger):
            pass

    await asyncio.to_thread(play)


async def test_bad_tls_settings_are_said_by_check_config_and_by_run(tls: Tls) -> None:
    hub, keyfile = tls.hub, tls.hub.environment["EDGETWIN_BROKER_TLS_KEYFILE"]
    shown = hub.run("check-config")
    assert shown.returncode == 0
    assert "# from EDGETWIN_BROKER_TLS_LISTEN" in shown.stdout
    for variable, value, said in (
        ("KEYFILE", "/nowhere/key", "broker.tls.keyfile: /nowhere/key: No such file"),
        ("KEYFILE", str(tls.authority.issue("other")[1]), "do not fit"),
        ("CAFILE", keyfile, "holds no certificate"),
        ("LISTEN", "8883", "is not host:port"),
        ("CERTFILE", "", "needs certfile beside it"),
    ):
        before = dict(hub.environment)
        hub.environment[f"EDGETWIN_BROKER_TLS_{variable}"] = value
        done = hub.run("check-config")
        assert (done.returncode, said in done.stderr) == (4, True), done.stderr
        hub.environment = before
    hub.environment["EDGETWIN_BROKER_TLS_KEYFILE"] = "/nowhere/key"
    failed = hub.run("run")
    assert failed.returncode != 0
    assert "broker.tls.keyfile" in failed.stderr
