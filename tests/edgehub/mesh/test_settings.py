"""The mesh's settings: defaults that fit the user, and what is refused with an example of what is right."""

import os

import pytest
from pydantic import ValidationError

from edgehub.mesh_settings import MeshSettings

pytestmark = pytest.mark.fast


def test_root_has_kubernetes_addresses_and_its_dns_on_port_53(monkeypatch):
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    settings = MeshSettings()
    assert settings.network == "10.96.0.0/16"
    assert settings.dns_address == ("10.96.0.10", 53)


def test_other_users_have_what_can_be_bound_without_root(monkeypatch):
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    settings = MeshSettings()
    assert settings.network == "127.96.0.0/16"
    assert settings.dns_address == ("127.96.0.10", 10053)


def test_dns_listens_where_it_is_told_or_not_at_all():
    assert MeshSettings.model_validate({"dns": {"listen": "[::1]:5300"}}).dns_address == ("::1", 5300)
    assert MeshSettings.model_validate({"dns": {"listen": "none"}}).dns_address is None


def test_upstreams_have_port_53_unless_they_say_another():
    dns = MeshSettings.model_validate({"dns": {"upstreams": ["192.0.2.53", "192.0.2.54:5353", "2001:db8::1"]}}).dns
    assert dns.servers == (("192.0.2.53", 53), ("192.0.2.54", 5353), ("2001:db8::1", 53))


@pytest.mark.parametrize(
    ("said", "told"),
    [
        ({"addresses": "10.96.0.0/30"}, "write 10.96.0.0/16"),
        ({"addresses": "10.96.0.1/16"}, "write 10.96.0.0/16"),
        ({"dns": {"listen": "localhost:53"}}, "write 127.0.0.1:10053"),
        ({"dns": {"upstreams": ["dns.example"]}}, "write 192.0.2.53"),
        ({"dns": {"domain": "Cluster"}}, "write cluster.local"),
        ({"peers": [{"name": "No", "host": "gw"}]}, "name of a gateway"),
        ({"peers": [{"name": "b", "host": ""}]}, "at least 1 character"),
        ({"peers": [{"name": "b", "host": "x"}, {"name": "b", "host": "y"}]}, "stands twice"),
        ({"peer_listen": "8884"}, "write 0.0.0.0:8884"),
        ({"zone": "Hall 2"}, "characters a-z"),
        ({"tunnel": {"listen": "20006"}}, "write 0.0.0.0:20006"),
        ({"metrics": {"listen": "here:1"}}, "write 127.0.0.1:9915"),
        ({"plane": "ipvs"}, "userspace"),
    ],
)
def test_what_cannot_be_is_refused_with_an_example(said, told):
    with pytest.raises(ValidationError, match=told):
        MeshSettings.model_validate(said)
