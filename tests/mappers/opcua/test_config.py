"""What people write: native and KubeEdge's keys, and a golden text for each class of mistake."""

import re
from pathlib import Path
from types import SimpleNamespace

import pytest
from pydantic import ValidationError

from mappers.opcua import MAPPER
from mappers.opcua.config import OpcuaConnection, OpcuaDevice, OpcuaPoint, SecurityMode, SecurityPolicy, split_kubeedge
from mappers.sdk.registry import Registry

pytestmark = pytest.mark.fast

HERE = Path(__file__).parents[3] / "mappers" / "opcua"
URL = {"url": "opc.tcp://host:4840"}


@pytest.mark.parametrize(
    ("given", "text"),
    [
        (
            {"url": "http://x"},
            "url 'http://x' is not opc.tcp://host:port; for example url: opc.tcp://192.168.1.20:4840",
        ),
        ({"url": "opc.tcp://a:b@x"}, "url holds a login, which would show in logs; use user and password"),
        (
            {**URL, "securityPolicy": "Basic256Sha256", "securityMode": "None"},
            "securityPolicy Basic256Sha256 with securityMode None protects nothing; use securityMode: SignAndEncrypt",
        ),
        (
            {**URL, "securityMode": "Sign"},
            "securityMode Sign needs a securityPolicy; for example securityPolicy: Basic256Sha256",
        ),
        ({**URL, "password": "x"}, "password without a user; add user, or remove the password"),
        (
            {**URL, "user": "a", "password": "x", "passwordFile": "y"},
            "password and passwordFile are both given; keep one of them",
        ),
        ({**URL, "userKey": "k"}, "userCertificate and userKey go together; give both, or none of them"),
        (
            {**URL, "user": "a", "userCertificate": "c", "userKey": "k"},
            "user and userCertificate are both given; a session has one login, keep one of them",
        ),
        ({**URL, "certificate": "c"}, "certificate and privateKey go together; give both, or none to have them made"),
        ({**URL, "securityPolicy": "Basic128Rsa15"}, "Input should be 'None', 'Basic256Sha256', 'Aes128Sha256RsaOaep'"),
        ({**URL, "timeoutMs": 0}, "Input should be greater than or equal to 1"),
        ({**URL, "nosuch": 1}, "Extra inputs are not permitted"),
    ],
)
def test_a_mistake_in_a_connection(given, text):
    assert problem_of(OpcuaConnection, given).startswith(text)


@pytest.mark.parametrize(
    ("given", "text"),
    [
        ({}, "nodeId is missing; for example nodeId: ns=2;s=Pump.Speed (or path: 2:Speed, from the device's node)"),
        ({"nodeId": "Pump"}, "'Pump' is not a node id; for example ns=2;s=Pump.Speed or ns=2;i=17"),
        ({"nodeId": "i=1", "path": "a"}, "nodeId and path are both given; keep one of them"),
        ({"path": "a//b"}, "'a//b' is not a browse path; for example 2:Pump/2:Speed"),
        ({"nodeId": "i=1", "object": "i=2"}, "object is the owner of a method; add method, or remove object"),
        (
            {"nodeId": "i=1", "deadband": 1, "deadbandPercent": 2},
            "deadband and deadbandPercent are both given; keep one of them",
        ),
        ({"nodeId": "i=1", "queue": 0}, "Input should be greater than or equal to 1"),
    ],
)
def test_a_mistake_in_a_point(given, text):
    assert problem_of(OpcuaPoint, given).startswith(text)


def test_a_mistake_in_a_device():
    assert problem_of(OpcuaDevice, {"node": "x"}) == "'x' is not a node id; for example ns=2;s=Pump.Speed or ns=2;i=17"


def problem_of(model: type, given: dict) -> str:
    with pytest.raises(ValidationError) as raised:
        model.model_validate(given)
    (problem,) = raised.value.errors(include_url=False)
    return problem["msg"].removeprefix("Value error, ")


def test_a_policy_without_a_mode_encrypts():
    config = OpcuaConnection.model_validate({**URL, "securityPolicy": "basic256sha256"})
    assert (config.security_policy, config.mode) == (SecurityPolicy.BASIC256SHA256, SecurityMode.SIGN_AND_ENCRYPT)
    assert OpcuaConnection.model_validate(URL).mode is SecurityMode.NONE
    assert OpcuaConnection.model_validate({"url": "opc.tcp://host/path"}).url == "opc.tcp://host:4840/path"


@pytest.mark.parametrize(
    ("written", "policy"),
    [
        ("None", SecurityPolicy.NONE),
        ("Aes128_Sha256_RsaOaep", SecurityPolicy.AES128),
        ("http://opcfoundation.org/UA/SecurityPolicy#Aes256_Sha256_RsaPss", SecurityPolicy.AES256),
    ],
)
def test_a_policy_may_be_written_as_the_specification_has_it(written, policy):
    assert OpcuaConnection.model_validate({**URL, "securityPolicy": written}).security_policy is policy


def test_a_password_does_not_show():
    config = OpcuaConnection.model_validate({**URL, "user": "a", "password": "secret"})
    assert "secret" not in repr(config)


V1ALPHA2 = {
    "opcua": {
        "url": "opc.tcp://192.168.56.103:4840",
        "userName": "testuser",
        "password": "/ca/pass",
        "certificate": "/ca/clientcert.pem",
        "privateKey": "/ca/clientkey.pem",
        "securityMode": "Sign",
        "securityPolicy": "Basic256Sha256",
        "timeout": 5,
    },
    "common": {"customizedValues": {"remoteCertificate": "/ca/servercert.pem", "other": 1}},
}


def test_kubeedges_connection_is_taken_unchanged_in_both_shapes():
    flat = {**V1ALPHA2["opcua"], "remoteCertificate": "/ca/servercert.pem"}
    configs = [OpcuaConnection.model_validate(split_kubeedge(given)[0]) for given in (V1ALPHA2, flat)]
    assert configs[0] == configs[1]
    config = configs[0]
    assert (config.user, config.password_file, config.timeout_ms) == ("testuser", "/ca/pass", 5000)
    assert (config.server_certificate, config.mode) == ("/ca/servercert.pem", SecurityMode.SIGN)
    assert OpcuaDevice.model_validate(split_kubeedge(V1ALPHA2)[1]).node == "i=85"


def test_kubeedges_visitor_is_taken_unchanged():
    point = OpcuaPoint.model_validate({"nodeID": "ns=2;i=2", "browseName": "temperature"})
    assert (point.node_id, point.method) == ("ns=2;i=2", "")


def test_a_protocol_name_of_kubeedge_finds_the_mapper():
    entry = SimpleNamespace(name="opcua", value="mappers.opcua:MAPPER", load=lambda: MAPPER)
    found = Registry([entry]).by_protocol("OPC-UA")
    assert found is not None
    assert found.mapper is MAPPER


def test_the_sample_and_the_readme_show_every_key():
    for name in ("sample.yaml", "README.md"):
        text = (HERE / name).read_text(encoding="utf-8")
        for model in (OpcuaConnection, OpcuaDevice, OpcuaPoint):
            for field, known in model.model_fields.items():
                assert re.search(rf"\b{known.alias or field}\b", text), f"{field} is not in {name}"
