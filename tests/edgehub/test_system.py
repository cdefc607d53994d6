"""What a gateway says of its system, and where it is reached."""

import ipaddress
import platform

import pytest

from edgehub.system import addresses, system

pytestmark = pytest.mark.fast


def test_it_is_what_the_system_says(tmp_path):
    (tmp_path / "release").write_text('NAME="x"\nPRETTY_NAME="Debian GNU/Linux 12"\n')
    found = system(tmp_path / "release")
    assert found["os"] == "Debian GNU/Linux 12"
    assert found["kernel"] == platform.release()


def test_what_cannot_be_read_is_left_out(tmp_path):
    (tmp_path / "release").write_text("nothing of the kind\n")
    assert "os" not in system(tmp_path / "release")
    assert "os" not in system(tmp_path / "missing")


def test_addresses_are_those_that_others_can_reach():
    assert not [one for one in map(ipaddress.ip_address, addresses()) if one.is_loopback]
