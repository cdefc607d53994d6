"""What the README of each mapper says is exempt is what its adapter says."""

import re
from pathlib import Path

import pytest

from tests.mappers.testkit.test_ble_contract import BleAdapter
from tests.mappers.testkit.test_modbus_contract import ModbusAdapter
from tests.mappers.testkit.test_opcua_contract import OpcuaAdapter
from tests.mappers.testkit.test_serialgpio_contract import FirmataAdapter

pytestmark = pytest.mark.fast

ROOT = Path(__file__).resolve().parents[3]


@pytest.mark.parametrize("adapter", [ModbusAdapter(), OpcuaAdapter(), BleAdapter(), FirmataAdapter()])
def test_each_exemption_is_in_the_quality_table_with_its_reason(adapter):
    text = (ROOT / "mappers" / adapter.mapper.name / "README.md").read_text(encoding="utf-8")
    table = text.partition("\n## Quality table\n")[2].partition("\n## ")[0]
    said = re.findall(r"^\| exempt from the contract: .+? \| (.+) \|$", table, re.MULTILINE)
    assert sorted(said) == sorted(set(adapter.exempt.values()))
    states = re.findall(r"^\| .+? \| (\S+)", table, re.MULTILINE)[2:]
    others = [one for one in states[: len(states) - len(said)] if one.rstrip(",:") not in ("done", "exempt", "todo")]
    assert others == []
