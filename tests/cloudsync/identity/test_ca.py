"""Certificates as the standard library's TLS takes them, and as it must not."""

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.x509.oid import ExtendedKeyUsageOID

from cloudsync.identity.ca import Authority, hosts_of, key_of, name_of
from tests.cloudsync.identity.conftest import DAY_MS, NOW
from twin.certificates import (
    fingerprint,
    is_signed_renewal,
    life,
    new_key,
    private_key,
    read_certificate,
    request,
    sign_renewal,
)
from twin.errors import InvalidMessage
from twin.wire.enrolment import JoinToken

pytestmark = pytest.mark.fast


def usage_of(certificate):
    return list(read_certificate(certificate).extensions.get_extension_for_class(x509.ExtendedKeyUsage).value)


def test_a_client_is_no_server_and_a_server_no_client(gateways):
    client, issued = gateways.issue(request(new_key(), "gw-1"), "gw-1", now=NOW, days=30)
    server, _ = gateways.issue_server(["cloud.example", "127.0.0.1"], now=NOW, days=365)
    assert usage_of(client) == [ExtendedKeyUsageOID.CLIENT_AUTH]
    assert usage_of(server) == [ExtendedKeyUsageOID.SERVER_AUTH]
    assert hosts_of(server) == ("cloud.example", "127.0.0.1")
    assert name_of(client) == issued.account == "gw-1"
    assert (life(client).begins_at, life(client).ends_at) == (NOW - 3600_000, NOW + 30 * DAY_MS)
    assert (issued.begins_at, issued.ends_at) == (life(client).begins_at, life(client).ends_at)


def test_a_gateway_is_a_server_for_other_gateways_under_a_name_of_its_own(gateways):
    certificate, _ = gateways.issue_gateway(request(new_key(), "gw-1"), "gw-1", now=NOW, days=30)
    assert usage_of(certificate) == [ExtendedKeyUsageOID.CLIENT_AUTH, ExtendedKeyUsageOID.SERVER_AUTH]
    assert hosts_of(certificate) == ("gw-1.gateway.internal",)
    assert name_of(certificate) == "gw-1"


def test_each_authority_knows_its_own(gateways, users):
    certificate, _ = users.issue(request(new_key(), "anna"), "anna", now=NOW, days=1)
    assert users.has_signed(certificate)
    assert not gateways.has_signed(certificate)
    other = Authority.create("gateways", NOW)
    assert not other.has_signed(gateways.issue(request(new_key(), "x"), "x", now=NOW, days=1)[0])
    with pytest.raises(InvalidMessage):
        users.has_signed("nothing")


def rsa_request(name):
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    return made_request(name, key)


def made_request(name, key):
    subject = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, name)])
    builder = x509.CertificateSigningRequestBuilder().subject_name(subject)
    return builder.sign(key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM).decode()


OFF_THE_CURVE = """-----BEGIN CERTIFICATE REQUEST-----
MIHJMHECAQAwDzENMAsGA1UEAwwEZ3ctMTBZMBMGByqGSM49AgEGCCqGSM49AwEH
A0IABElzepTkzd6aJoGns6ogm47Oo3BUJdKPB9T/5aPvw5HaRJzW3bIebUq02g1B
p5DdHDijDBXqASCZlOyV4ob6rE+gADAKBggqhkjOPQQDAgNIADBFAiEAlXY+VCga
OtXfk3wTj7NK/TrXtw/whBWHXWApm9CZ3XkCIASLROhccTv42mko6ZH5UXupcyl6
2TjNEg84jGLA7Sg5
-----END CERTIFICATE REQUEST-----
"""
"""Found by `make fuzz`: its key is no point of P-256."""


@pytest.mark.parametrize(
    ("csr", "why"),
    [
        ("", "no certificate request"),
        ("-----BEGIN CERTIFICATE REQUEST-----\nAAAA\n-----END CERTIFICATE REQUEST-----\n", "no certificate request"),
        (OFF_THE_CURVE, "cannot be read"),
        (rsa_request("gw-1"), "P-256"),
        (made_request("gw-1", ec.generate_private_key(ec.SECP384R1())), "P-256"),
        (request(new_key(), "gw-2"), "'gw-2', not for 'gw-1'"),
    ],
)
def test_a_request_that_is_not_as_it_must_be_is_refused(gateways, csr, why):
    with pytest.raises(InvalidMessage, match=why):
        gateways.issue(csr, "gw-1", now=NOW, days=1)


def test_what_a_request_asks_for_besides_its_key_is_not_given(gateways):
    subject = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "gw-1")])
    csr = (
        x509.CertificateSigningRequestBuilder()
        .subject_name(subject)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
        .sign(private_key(new_key()), hashes.SHA256())
        .public_bytes(serialization.Encoding.PEM)
        .decode()
    )
    certificate, _ = gateways.issue(csr, "gw-1", now=NOW, days=1)
    assert usage_of(certificate) == [ExtendedKeyUsageOID.CLIENT_AUTH]
    constraints = read_certificate(certificate).extensions.get_extension_for_class(x509.BasicConstraints).value
    assert not constraints.ca


def test_a_list_names_what_is_revoked(gateways):
    _, one = gateways.issue(request(new_key(), "gw-1"), "gw-1", now=NOW, days=1)
    _, two = gateways.issue(request(new_key(), "gw-2"), "gw-2", now=NOW, days=1)
    crl = x509.load_pem_x509_crl(gateways.revocations([one], now=NOW, number=7).encode())
    assert crl.get_revoked_certificate_by_serial_number(int(one.serial, 16)) is not None
    assert crl.get_revoked_certificate_by_serial_number(int(two.serial, 16)) is None
    assert crl.is_signature_valid(read_certificate(gateways.certificate).public_key())


def test_the_key_of_a_request_is_known_again():
    key = new_key()
    assert key_of(request(key, "a")) == key_of(request(key, "b"))
    assert key_of(request(new_key(), "a")) != key_of(request(key, "a"))


def test_a_renewal_is_signed_over_the_very_request(gateways):
    key = new_key()
    certificate, _ = gateways.issue(request(key, "gw-1"), "gw-1", now=NOW, days=1)
    csr = request(new_key(), "gw-1")
    signature = sign_renewal(key, csr)
    assert is_signed_renewal(certificate, csr, signature)
    assert not is_signed_renewal(certificate, csr + " ", signature)
    assert not is_signed_renewal(certificate, csr, signature[:-4] + "AAAA")


def test_key_and_certificate_may_stand_in_one_file(gateways):
    key = new_key()
    certificate, _ = gateways.issue(request(key, "gw-1"), "gw-1", now=NOW, days=1)
    assert fingerprint(key + certificate) == fingerprint(certificate)
    assert private_key(key + certificate).private_numbers() == private_key(key).private_numbers()


@pytest.mark.parametrize("text", ["", "!", "e30", "x" * 3000, "bnVsbA", "\u00e4"])
def test_what_is_no_token_is_refused(text):
    with pytest.raises(InvalidMessage, match="no join token"):
        JoinToken.read(text)


@pytest.mark.parametrize("text", ["", "x", "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n"])
def test_what_is_no_key_or_certificate_is_refused(text):
    with pytest.raises(InvalidMessage):
        private_key(text)
    with pytest.raises(InvalidMessage):
        read_certificate(text)
