"""What the hub asks of plugins, in processes of their own, and how it lives with those that give no answer."""

import importlib.metadata
import os
import textwrap
from pathlib import Path

import pytest

from edgehub import accounts
from edgehub.local_broker import PluginLogins
from edgehub.logins import InvalidLogin, Logins
from edgehub.mapper_hosts import placed
from edgehub.plugins import HubMappers
from mappers.sdk.checks import Part
from mappers.sdk.config import ConnectionSettings, DeviceSettings, HostSettings
from mappers.sdk.errors import InvalidSettings
from mappers.sdk.registry import GROUP, Registry
from twin.manifest.kinds import MapperSpec
from twin.model import TwinKey, ValueType
from twin.wire import topics

ROOT = Path(__file__).resolve().parents[2]
GOOD = """
    import sys
    from mappers.sdk import ConnectionConfig, DeviceConfig, Mapper, PointConfig
    print("a plugin may print what it likes")
    class Point(PointConfig):
        key: str
        def mismatch(self, value_type):
            return "no texts here; make it INT" if value_type == "STRING" else ""
    def split(config):
        return {"host": config["ip"]}, {"unit": config.get("unit", 1)}
    MAPPER = Mapper("odd", ConnectionConfig, DeviceConfig, Point, None, aliases={"odd-bus": ""}, split=split)
"""


@pytest.fixture
def mappers(tmp_path, monkeypatch):
    """The hub's view of a plugin ``odd`` of this text."""
    made = []

    def of(text: str, answer_s: float = 10.0, name: str = "odd") -> HubMappers:
        meta = tmp_path / "odd-1.0.dist-info"
        meta.mkdir()
        (meta / "METADATA").write_text("Metadata-Version: 2.1\nName: odd\nVersion: 1.0\n")
        (meta / "entry_points.txt").write_text(f"[{GROUP}]\n{name} = odd_module:MAPPER\n")
        (tmp_path / "odd_module.py").write_text(textwrap.dedent(text))
        monkeypatch.setenv("PYTHONPATH", os.pathsep.join((str(tmp_path), str(ROOT))))
        monkeypatch.syspath_prepend(tmp_path)
        made.append(HubMappers(Registry(importlib.metadata.entry_points(group=GROUP)), answer_s))
        return made[0]

    yield of
    made[0].rest()


def test_a_plugin_answers_in_its_own_process_as_ours_do_in_this(mappers, capfd):
    hub = mappers(GOOD)
    odd = hub.checked("odd")
    (mistake,) = odd.mistakes(Part.POINT, {})
    assert (mistake.path, mistake.text) == (("key",), "key is missing")
    assert odd.mistakes(Part.POINT, {"key": "a"}) == []
    assert odd.mismatch({"key": "a"}, ValueType.STRING) == "no texts here; make it INT"
    assert odd.mismatch({"key": "a"}, ValueType.INT) == ""
    assert odd.split({"ip": "192.0.2.1"}) == ({"host": "192.0.2.1"}, {"unit": 1})
    assert hub.speaking("Odd-Bus").name == hub.speaking("odd").name == "odd"
    assert hub.speaking("modbus-tcp").name == "modbus"
    assert hub.speaking("odder") is None
    hub.rest()
    assert odd.mismatch({"key": "a"}, ValueType.STRING) == "no texts here; make it INT"
    assert capfd.readouterr().err.count("a plugin may print") == 1, "what was asked before is remembered"
    with pytest.raises(InvalidSettings, match="mapper 'odd' failed on its settings: KeyError: 'ip'"):
        odd.split({})


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("import time; time.sleep(100)", "it gave no answer in 1.5 s and was ended"),
        ("import os; os._exit(7)", "its process ended with exit code 7"),
        ("import os; os.kill(os.getpid(), 11)", "its process ended with signal 11"),
        ("x = bytearray(4 << 30)", "cannot be imported: MemoryError"),
        ("raise OSError('no such chip')", "cannot be imported: OSError: no such chip (odd_module.py, line 1)"),
    ],
)
def test_a_plugin_that_gives_no_answer_is_an_error_with_its_name(mappers, text, said):
    hub = mappers(text, answer_s=1.5 if "sleep" in text else 10)
    for _ in range(2):  # the second one is remembered
        with pytest.raises(InvalidSettings, match="mapper 'odd'") as caught:
            hub.checked("odd")
        assert said in caught.value.message
    assert hub.speaking("modbus").name == "modbus"
    assert hub.speaking("odd-bus") is None


def test_a_plugin_that_takes_a_name_of_ours_is_not_used(mappers):
    hub = mappers("raise SystemExit(3)", name="modbus")
    assert not hub.is_plugin("modbus")
    assert hub.checked("modbus").name == "modbus"


@pytest.mark.fast
def test_connections_are_sorted_by_the_process_that_serves_them():
    def connection(mapper: str, number: int) -> ConnectionSettings:
        device = DeviceSettings(twin=f"device/default/{mapper}-{number}", address={}, points=())
        return ConnectionSettings(name=f"default/{mapper}-{number}", mapper=mapper, config={}, devices=(device,))

    all_ = [connection(mapper, number) for number in (1, 2) for mapper in ("modbus", "odd", "opcua", "off")]
    specs = {"off": MapperSpec(enabled=False), "opcua": MapperSpec(enabled=False), "odd": MapperSpec(cpu=1)}
    found = placed(HostSettings(connections=tuple(all_)), specs, lambda name: name in ("odd", "off"))
    assert [one.name for one in found.ours.connections] == ["default/modbus-1", "default/modbus-2"]
    assert {name: len(one.connections) for name, one in found.plugins.items()} == {"odd": 2}
    assert found.disabled == ("off", "opcua")
    assert [str(key) for key in found.unserved] == [
        f"{kind}/default/{name}-{number}"
        for number in (1, 2)
        for name in ("opcua", "off")
        for kind in ("mapper", "device")
    ]


@pytest.mark.fast
def test_the_account_of_a_mapper_is_a_name_however_long_the_mapper_s_is():
    names = {accounts.plugin_name(name) for name in ("soil-probe", "x" * 63, "x" * 62, "a" + "-" * 50 + "b")}
    assert len(names) == 4
    assert "mapper.soil-probe" in names
    for name in names:
        topics.parse_report(topics.report(topics.simulated_reporter(name), TwinKey.parse("x")))


@pytest.mark.fast
def test_nobody_may_have_a_login_with_the_name_of_a_mapper_s():
    with pytest.raises(InvalidLogin, match="the gateway's own"):
        Logins().with_login("mapper.soil-probe", ())


@pytest.mark.fast
def test_passwords_of_plugins_stay_while_their_twins_change_and_go_with_them():
    told = []
    logins = PluginLogins()
    logins.on_change(lambda: told.append(logins.accounts))
    logins.allow({"mapper.a": [TwinKey.parse("x")]})
    first = logins.login("mapper.a").password
    logins.allow({"mapper.a": [TwinKey.parse("x")]})
    assert len(told) == 1
    logins.allow({"mapper.a": [TwinKey.parse("x"), TwinKey.parse("y")]})
    assert logins.login("mapper.a").password == first
    logins.allow({})
    assert logins.accounts == ()
    logins.allow({"mapper.a": []})
    assert logins.login("mapper.a").password != first
