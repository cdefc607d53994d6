"""Mappers by name."""

import pytest

from mappers.sdk import ConnectionConfig, DeviceConfig, Mapper, PointConfig
from mappers.sdk.errors import InvalidSettings
from mappers.sdk.registry import Registry

pytestmark = pytest.mark.fast


class Entry:
    def __init__(self, name: str, found: object) -> None:
        self.name = name
        self.value = f"{name}:MAPPER"
        self.found = found
        self.loads = 0

    def load(self) -> object:
        self.loads += 1
        if isinstance(self.found, Exception):
            raise self.found
        return self.found


def mapper(name: str, **aliases: str) -> Mapper:
    return Mapper(name, ConnectionConfig, DeviceConfig, PointConfig, lambda config: None, aliases)


def test_nothing_is_imported_before_it_is_asked_for_and_then_once() -> None:
    entry, other = Entry("a", mapper("a")), Entry("b", mapper("b"))
    registry = Registry([entry, other])
    assert registry.names() == ("a", "b")
    assert (entry.loads, other.loads) == (0, 0)
    assert registry.find("a") is registry.find("a")
    assert (entry.loads, other.loads) == (1, 0)


def test_a_broken_plugin_is_one_precise_error_and_harms_nobody() -> None:
    bad = Entry("bad", ImportError("no module named x"))
    registry = Registry([bad, Entry("odd", 42), Entry("good", mapper("good", **{"good-tcp": "tcp"}))])
    for _ in range(2):
        with pytest.raises(InvalidSettings, match=r"mapper 'bad' \(bad:MAPPER\) cannot be imported: ImportError"):
            registry.find("bad")
    assert bad.loads == 1
    with pytest.raises(InvalidSettings, match=r"is a int, not a mappers\.sdk\.Mapper"):
        registry.find("odd")
    assert registry.find("good").name == "good"
    found = registry.by_protocol("GOOD-TCP")
    assert found is not None
    assert (found.mapper.name, found.meaning) == ("good", "tcp")


def test_an_unknown_name_says_which_there_are() -> None:
    with pytest.raises(InvalidSettings, match="installed are none"):
        Registry([]).find("x")
    assert Registry([]).by_protocol("x") is None


def test_installed_mappers_are_found_without_import() -> None:
    assert "modbus" in Registry.installed().names()
