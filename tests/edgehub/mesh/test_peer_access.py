"""Where other gateways are admitted: by certificate only, and only those that the settings name."""

import pytest

from edgehub.cloud_keys import CloudKeys
from edgehub.mesh_settings import Enabled, MeshSettings, PeerSettings
from edgehub.mosquitto_conf import BrokerPlan, TlsPlan, mosquitto_conf
from edgehub.peer_access import lacks_keys, peer_access
from tests.edgehub.mesh.lan import authority, join
from twin.broker_accounts import Rule, TopicAccess

pytestmark = pytest.mark.fast
SETTINGS = MeshSettings(
    peer_listen="192.0.2.1:8884",
    peers=(PeerSettings(name="b", host="192.0.2.2"), PeerSettings(name="a", host="192.0.2.1")),
)


@pytest.fixture
def keys(tmp_path):
    return join(tmp_path / "keys", "a", authority())


def test_each_peer_may_read_what_this_gateway_tells_and_nothing_else(keys):
    access = peer_access(SETTINGS, keys, "a")
    assert (access.host, access.port, access.pair, access.authority) == ("192.0.2.1", 8884, keys.pair, keys.ca)
    assert [(one.name, one.rules) for one in access.accounts] == [("b", (Rule(TopicAccess.READ, "et/1/mesh/a/+"),))]


@pytest.mark.parametrize("changed", [{"peer_listen": ""}, {"enabled": Enabled.OFF}])
def test_without_a_listener_nobody_is_admitted(keys, changed):
    assert peer_access(SETTINGS.model_copy(update=changed), keys, "a") is None


def test_a_gateway_without_a_certificate_has_no_peers_and_lacks_something_only_if_it_wants_some(tmp_path, keys):
    none = CloudKeys(tmp_path / "nothing")
    assert peer_access(SETTINGS, none, "a") is None
    assert lacks_keys(SETTINGS, none)
    assert not lacks_keys(SETTINGS, keys)
    assert not lacks_keys(MeshSettings(), none)
    assert not lacks_keys(SETTINGS.model_copy(update={"enabled": Enabled.OFF}), none)


def test_the_listener_asks_for_a_certificate_and_takes_the_name_in_it_for_account_and_client(tmp_path):
    files = tmp_path / "pair", tmp_path / "pair", tmp_path / "ca"
    peers = TlsPlan("0.0.0.0", 8884, *files, by_certificate=True, acl_file=tmp_path / "acl", named=True)
    text = mosquitto_conf(BrokerPlan(1883, tmp_path / "p", tmp_path / "a", "me", peers=peers))
    listener = text[text.index("listener 8884 0.0.0.0") :].partition("\n\n")[0].splitlines()
    assert {
        "require_certificate true",
        "use_identity_as_username true",
        "use_username_as_clientid true",
        "max_connections 64",
        "allow_anonymous false",
        f"acl_file {tmp_path / 'acl'}",
    } <= set(listener)
