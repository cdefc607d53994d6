"""Virtual addresses: stable, never given twice, and as a document asks where that can be."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgehub.mesh.addresses import Addresses
from mesh.model.services import ServiceKey

pytestmark = pytest.mark.fast

NETWORK, DNS = "127.96.0.0/24", "127.96.0.10"
NAMES = st.lists(st.sampled_from([ServiceKey("plant", f"s{n}") for n in range(150)]), unique=True)


def fresh(text=""):
    return Addresses.read(text, NETWORK, {DNS})


def test_an_address_is_drawn_from_the_name_and_so_the_same_everywhere():
    assert fresh().of(ServiceKey("plant", "web"), "") == fresh().of(ServiceKey("plant", "web"), "")


@given(NAMES)
def test_no_two_services_have_one_address_and_none_has_that_of_dns(keys):
    addresses = fresh()
    given_ = [addresses.of(key, "") for key in keys]
    assert len(set(given_)) == len(keys)
    assert DNS not in given_
    assert not {"127.96.0.0", "127.96.0.255"} & set(given_)


@given(NAMES, NAMES)
def test_an_address_stays_whatever_comes_goes_or_restarts(first, second):
    addresses = fresh()
    before = {key: addresses.of(key, "") for key in first}
    again = fresh(addresses.note())
    for key in second:
        again.of(key, "")
    assert {key: again.of(key, "") for key in first} == before


def test_a_document_gets_the_address_that_it_asks_for_unless_another_has_it():
    addresses, web, shop = fresh(), ServiceKey("plant", "web"), ServiceKey("plant", "shop")
    assert addresses.of(web, "127.96.0.77") == "127.96.0.77"
    assert addresses.of(shop, "127.96.0.77") != "127.96.0.77"
    assert addresses.of(web, "127.96.0.78") == "127.96.0.78"
    addresses.forget({web})
    assert addresses.of(shop, "127.96.0.77") == "127.96.0.77"


@pytest.mark.parametrize("wanted", ["10.96.0.7", DNS, "127.96.0.255", "fd00::7"])
def test_an_address_that_cannot_be_had_here_is_replaced(wanted):
    found = fresh().of(ServiceKey("plant", "web"), wanted)
    assert found.startswith("127.96.0.")
    assert found != wanted


def test_a_note_that_makes_no_sense_is_left_out_line_by_line():
    text = "plant/web 127.96.0.20\nplant/shop 127.96.0.20\nnonsense\nplant/far 10.0.0.1\n"
    assert fresh(text).note() == "plant/web 127.96.0.20\n"


def test_there_is_something_to_note_only_after_a_change():
    addresses = fresh()
    addresses.of(ServiceKey("plant", "web"), "")
    assert addresses.forget({ServiceKey("plant", "web")})
    assert not addresses.forget({ServiceKey("plant", "web")})
    assert addresses.forget(())
