"""What settings have in common is checked in words that say what to write."""

from typing import Annotated

import pytest
from pydantic import BaseModel, ValidationError

from twin.setting_types import JSON_IN_ENVIRONMENT, address_as, is_broker, split_address

pytestmark = pytest.mark.fast


class Some(BaseModel):
    listen: Annotated[str, address_as("127.0.0.1:1884")] = ""
    names: Annotated[tuple[str, ...], JSON_IN_ENVIRONMENT] = ()


@pytest.mark.parametrize("listen", ["127.0.0.1:1", "hall-7:65535", "[::1]:8883", ""])
def test_an_address_is_a_host_and_a_port_or_nothing(listen):
    assert Some(listen=listen).listen == listen


@pytest.mark.parametrize("listen", ["127.0.0.1", ":80", "h:0", "h:65536", "h:x", "-h:80", "h:"])
def test_what_is_no_address_is_refused_with_an_example(listen):
    with pytest.raises(ValidationError, match=r"is not host:port; write 127\.0\.0\.1:1884"):
        Some(listen=listen)


def test_an_address_comes_apart_into_what_a_socket_takes():
    assert split_address("[::1]:8883") == ("::1", 8883)


def test_several_values_are_a_list_in_a_file_and_json_in_the_environment():
    assert Some(names=["a", "b"]) == Some.model_validate({"names": '["a", "b"]'})
    with pytest.raises(ValidationError):
        Some.model_validate({"names": "a, b"})


@pytest.mark.parametrize("url", ["mqtt://h", "mqtt://h:1883/", "mqtt://user:word@[::1]:1"])
def test_a_broker_is_named_by_its_scheme_host_and_port(url):
    assert is_broker(url, "mqtt")


@pytest.mark.parametrize(
    "url", ["mqtts://h", "mqtt://", "mqtt://h:99999", "mqtt://h:0", "mqtt://[::1", "mqtt://h/x", "h"]
)
def test_what_names_no_broker_is_known_before_anybody_dials_it(url):
    assert not is_broker(url, "mqtt")
