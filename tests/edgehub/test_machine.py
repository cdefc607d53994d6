"""What a gateway says of its machine."""

import ipaddress
import os
import platform

import pytest

from edgehub.machine import addresses, machine

pytestmark = pytest.mark.fast


def test_it_is_what_the_system_says(tmp_path):
    (tmp_path / "meminfo").write_text("MemTotal:        2048 kB\nMemFree:  1 kB\n")
    (tmp_path / "release").write_text('NAME="x"\nPRETTY_NAME="Debian GNU/Linux 12"\n')
    found = machine(tmp_path / "meminfo", tmp_path / "release")
    assert found["memory"] == 2 * 2**20
    assert found["os"] == "Debian GNU/Linux 12"
    assert found["cpu"] == len(os.sched_getaffinity(0)) * 1000
    assert found["arch"] == platform.machine()


def test_what_cannot_be_read_is_left_out(tmp_path):
    (tmp_path / "meminfo").write_text("MemTotal: much\n")
    found = machine(tmp_path / "meminfo", tmp_path / "nothing")
    assert "memory" not in found
    assert "os" not in found


def test_addresses_are_those_that_others_can_reach():
    assert not [one for one in map(ipaddress.ip_address, addresses()) if one.is_loopback]
