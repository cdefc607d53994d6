"""Where the cloud is: settings, keys, and what is wrong with them; and status in words."""

import random
import time

import pytest

from edgehub.cloud_keys import CloudConnection, CloudKeys
from edgehub.commands import status
from edgehub.settings import CloudSettings
from edgehub.sync.place import CloudFinder
from twin.wire.api import SyncBody

pytestmark = pytest.mark.fast


@pytest.fixture
def keys(tmp_path):
    folder = tmp_path / "keys"
    folder.mkdir()
    return CloudKeys(folder)


def joined(keys, gateway="gw-1", port=8883):
    place = CloudConnection(
        gateway=gateway, host="cloud", port=port, enrol_url="https://cloud:8443", ca_fingerprint="f"
    )
    keys.place.write_text(place.model_dump_json())


def finder(keys, **settings):
    return CloudFinder(CloudSettings(**settings), keys, "gw-1", random.Random(7))


def test_without_keys_and_url_there_is_no_cloud_and_no_alarm(keys):
    find = finder(keys)
    assert find() is None
    assert find.alarm == ""


def test_joining_is_noticed_and_so_is_another_cloud(keys):
    find = finder(keys)
    assert find() is None
    joined(keys)
    first = find()
    assert first.name == "cloud:8883"
    assert find().identity == first.identity
    joined(keys, port=8884)
    assert find().identity != first.identity


def test_the_url_goes_before_the_keys_place_and_disabled_is_off(keys):
    joined(keys)
    assert finder(keys, url="mqtts://other:9883")().name == "other:9883"
    assert finder(keys, enabled=False)() is None
    assert finder(CloudKeys(keys.folder / "none"), url="mqtt://plain")().name == "plain:1883"


@pytest.mark.parametrize("text", ["{", '{"gateway": 1}', ""])
def test_keys_that_cannot_be_used_are_an_alarm(keys, text):
    keys.place.write_text(text)
    find = finder(keys)
    assert find() is None
    assert "cannot be used" in find.alarm
    joined(keys)
    assert find() is not None
    assert find.alarm == ""


def test_keys_of_another_gateway_are_an_alarm(keys):
    joined(keys, gateway="gw-2")
    find = finder(keys)
    assert find() is None
    assert "gw-2" in find.alarm
    assert "gateway.name" in find.alarm


def body(**more):
    return SyncBody(state="offline", since=int(time.time() * 1000) - 5000, cloud="cloud:8883", **more)


def test_status_says_what_is_unsent_and_why():
    text = status._sync(
        body(why="the connection to cloud:8883 was lost", unsent=12, oldest_unsent_s=31.5, lag_s=40, last_resync=1)
    )
    assert text.startswith("offline for 5.")
    for part in ("cloud:8883 was lost", "12 unsent leaves, the oldest 32 s old", "40 s behind", "last resync"):
        assert part in text
    assert "unsent" not in status._sync(body())
    assert "edgetwin join" in status._sync(SyncBody(state="off", since=0))
