"""Settings of a cloud, and the files of its brokers: pure."""

import itertools
from pathlib import Path

import pytest

from cloudsync.access import gateways_acl, user_rules, users_acl
from cloudsync.app import Cloud, MissingExtra, _check_libraries
from cloudsync.identity.folder import CloudFolder, state_folder
from cloudsync.identity.model import Account, AccountKind
from cloudsync.identity.roles import VERBS, Role, may
from cloudsync.mosquitto_conf import BrokerPlan, InnerListener, TlsListener, mosquitto_conf
from cloudsync.sessions_log import ClientLog
from cloudsync.settings import CloudSettings, load_settings
from cloudsync.setup import WorkerSetup
from twin.clock import SystemClock
from twin.settings_file import InvalidSettings

pytestmark = pytest.mark.fast

RUN = Path("/run")


def settings(**environment):
    named = {f"EDGETWIN_CLOUD_{key}": value for key, value in environment.items()}
    return load_settings(None, named).settings


def plan(*, named=True, inner=()):
    outer = TlsListener("0.0.0.0", 8883, *(RUN / name for name in ("ca", "crl", "cert", "key", "acl")), named=named)
    return BrokerPlan("edgetwin", outer, (InnerListener("127.0.0.1", 40000, RUN / "pw", RUN / "acl-in"), *inner), 500)


def test_the_config_of_the_gateways_broker_is_as_agreed():
    lines = [line for line in mosquitto_conf(plan()).splitlines() if line and not line.startswith("#")]
    assert lines == [
        "user edgetwin",
        "per_listener_settings true",
        "listener 8883 0.0.0.0",
        "max_connections 500",
        "cafile /run/ca",
        "crlfile /run/crl",
        "certfile /run/cert",
        "keyfile /run/key",
        "tls_version tlsv1.2",
        "ciphers ECDHE+AESGCM:ECDHE+CHACHA20",
        "require_certificate true",
        "use_identity_as_username true",
        "use_username_as_clientid true",
        "allow_anonymous false",
        "acl_file /run/acl",
        "listener 40000 127.0.0.1",
        "allow_anonymous false",
        "password_file /run/pw",
        "acl_file /run/acl-in",
        "set_tcp_nodelay true",
        "persistence false",
        "max_inflight_messages 1000",
        "max_inflight_bytes 37748736",
        "max_queued_messages 10000",
        "max_queued_bytes 37748736",
        "message_size_limit 9437184",
        "max_packet_size 9502720",
        "max_keepalive 600",
        "log_dest stderr",
        "log_timestamp false",
        "log_type error",
        "log_type warning",
        "log_type notice",
        "connection_messages false",
    ]


def test_apps_choose_their_client_id_and_are_logged_by_it():
    text = mosquitto_conf(plan(named=False))
    assert "use_username_as_clientid false" in text
    assert "connection_messages true" in text


def test_a_door_for_other_machines_has_tls():
    text = mosquitto_conf(plan(inner=[InnerListener("10.0.0.1", 8885, RUN / "p2", RUN / "a2", RUN / "c", RUN / "k")]))
    door = text.partition("listener 8885 10.0.0.1\n")[2]
    assert door.startswith("certfile /run/c\nkeyfile /run/k\ntls_version tlsv1.2\n")


def test_the_rules_of_gateways_are_patterns():
    assert gateways_acl() == (
        "topic deny #\n\n"
        "pattern write et/1/sync/%u/up\npattern read et/1/sync/%u/down\npattern write et/1/sync/%u/state\n"
    )


def test_only_active_users_have_rules():
    accounts = [
        Account("anna", AccountKind.USER, Role.VIEWER, 1),
        Account("bert", AccountKind.USER, Role.ADMIN, 1, revoked_at=2),
        Account("gw-1", AccountKind.GATEWAY, None, 1),
    ]
    text = users_acl(accounts)
    assert text.startswith("topic deny #\n\nuser anna\n")
    assert "bert" not in text
    assert "gw-1" not in text
    assert users_acl([]) == "topic deny #\n\n"


def test_each_role_may_what_the_one_before_may():
    roles = list(Role)
    for less, more in itertools.pairwise(roles):
        assert set(VERBS[less]) < set(VERBS[more])
        assert set(user_rules("x", less)) < set(user_rules("x", more)) or less is Role.OPERATOR
    assert may(Role.OPERATOR, "set")
    assert not may(Role.VIEWER, "set")
    assert not may(Role.OPERATOR, "apply")


def test_the_places_of_a_cloud_follow_from_its_listeners_unless_said():
    servers = settings(PUBLIC_HOST="cloud.example").servers
    assert (servers.url, servers.gateways_port, servers.apps_port) == ("https://cloud.example:8443", 8883, 8884)
    servers = settings(PUBLIC_HOST="2001:db8::1", PUBLIC_WEB_PORT="443", PUBLIC_GATEWAYS_PORT="1").servers
    assert (servers.url, servers.gateways_host, servers.gateways_port) == (
        "https://[2001:db8::1]:443",
        "2001:db8::1",
        1,
    )
    servers = settings(BROKER_URL="mqtts://mq.example").servers
    assert (servers.gateways_host, servers.gateways_port, servers.apps_port) == ("mq.example", 8883, 8883)
    with pytest.raises(InvalidSettings, match=r"public\.apps_port"):
        _ = settings(BROKER_APPS="").servers


@pytest.mark.parametrize(
    ("key", "value", "said"),
    [
        ("BROKER_URL", "http://h", "not a broker address"),
        ("BROKER_URL", "mqtt://h/topic", "not a broker address"),
        ("BROKER_URL", "mqtts://h:99999", "not a broker address"),
        ("BROKER_URL", "mqtt://user:pw@h", "broker.username"),
        ("BROKER_GATEWAYS", "0.0.0.0", "host:port"),
        ("BROKER_GATEWAYS", "0.0.0.0:70000", "host:port"),
        ("BROKER_SHARDS", '["mqtts://h"]', "username and password"),
        ("BROKER_INTERNAL", "0.0.0.0:8885", "username and password"),
        ("STORE_URL", "mysql://h/d", "postgresql://"),
        ("WEB_LISTEN", "x", "host:port"),
        ("IDENTITY_GATEWAY_DAYS", "0", "greater than"),
        ("WORKERS", "many", "integer"),
    ],
)
def test_a_setting_that_cannot_be_used_is_told(key, value, said):
    with pytest.raises(InvalidSettings, match=said) as caught:
        settings(**{key: value})
    assert f"EDGETWIN_CLOUD_{key}" in str(caught.value) or "username" in said
    assert "docs/cloud.md" in caught.value.remedy


def test_no_secret_is_in_what_is_told_or_shown():
    for key, value in (("STORE_URL", "mysql://u:hidden@h/d"), ("BROKER_URL", "mqtt://u:hidden@h")):
        with pytest.raises(InvalidSettings) as caught:
            settings(**{key: value})
        assert "hidden" not in str(caught.value)
    made = settings(STORE_URL="postgresql://u:hidden@h/d", BROKER_PASSWORD="hidden", BROKER_USERNAME="w")
    assert "hidden" not in repr(made)
    assert "hidden" not in made.model_dump_json()


def test_a_file_and_the_environment_together(tmp_path):
    file = tmp_path / "edgetwin-cloud.yaml"
    file.write_text("workers: 3\nbroker: {gatways: 0.0.0.0:1}\n")
    with pytest.raises(InvalidSettings, match=r"did you mean gateways\?"):
        load_settings(file, {})
    file.write_text("workers: 3\n")
    loaded = load_settings(file, {"EDGETWIN_CLOUD_WORKERS": "5", "EDGETWIN_CLOUD_STATE": "x"})
    assert (loaded.settings.workers, loaded.overrides) == (5, ("workers",))
    assert load_settings(None, {}).settings == CloudSettings()


def test_the_state_folder_is_where_it_is_said_to_be(tmp_path):
    assert state_folder({"EDGETWIN_CLOUD_STATE": str(tmp_path)}) == tmp_path
    assert state_folder({"HOME": "/x"}).name == "edgetwin-cloud"
    assert settings().store.place(CloudFolder(Path("/var/x"))) == "sqlite:////var/x/cloud.db"


def test_the_log_of_the_broker_tells_the_clients_of_a_user():
    log = ClientLog()
    for line in (
        "New client connected from 127.0.0.1:1 as phone (p5, c1, k60, u'anna').",
        "New client connected from ::1:2 as x (p5, c1, k60, u'bert'). (p2, c1, k60, u'anna').",
        "New client connected from 127.0.0.1:3 as other (p5, c1, k60, u'bert').",
        "New client connected from 127.0.0.1:4 as gone (p5, c0, k60, u'anna').",
        "Client gone disconnected.",
        "Client phone already connected, closing old connection.",
    ):
        assert log.level(line) == 10
    assert log.clients_of("anna") == ("phone", "x (p5, c1, k60, u'bert').")
    assert log.clients_of("nobody") == ()
    assert log.level("Error: no") == 40


def test_libraries_that_are_not_installed_are_named_before_anything_is_started(monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(MissingExtra, match="fastapi, uvicorn") as caught:
        _check_libraries(settings())
    assert "edgetwin[cloud]" in caught.value.remedy
    with pytest.raises(MissingExtra, match="needs asyncpg"):
        _check_libraries(settings(WEB_LISTEN="", STORE_URL="postgresql://u:p@h/d"))
    _check_libraries(settings(WEB_LISTEN=""))


def test_what_children_are_told_is_not_in_their_environment(monkeypatch, tmp_path):
    monkeypatch.setenv("EDGETWIN_CLOUD_STORE_URL", "postgresql://u:hidden@h/d")
    cloud = Cloud(
        settings(STORE_URL="postgresql://u:hidden@h/d"), CloudFolder(tmp_path), SystemClock(), supervisor=None
    )
    for child in (cloud._worker("worker-1", 1), cloud._web()):
        assert b"hidden" in child.stdin
        assert "hidden" not in str((child.argv, child.env)) + repr(child)
        assert child.env["PATH"]
    setup = WorkerSetup.model_validate_json(cloud._worker("worker-1", 1).stdin)
    assert setup.store_url == "postgresql://u:hidden@h/d"
    assert "hidden" not in repr(setup)
