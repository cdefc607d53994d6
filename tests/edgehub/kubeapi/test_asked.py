"""What a request asks for, and what is wrong with one that asks for nothing that is served."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgehub.kubeapi.asked import Discovery, Form, Get, List, Watch, asked
from edgehub.kubeapi.resources import DEVICES, NAMESPACES, PODS
from edgehub.kubeapi.status import ApiError
from edgehub.kubeapi.table import Include

pytestmark = pytest.mark.fast

TABLE = (
    "application/json;as=Table;v=v1;g=meta.k8s.io,application/json;as=Table;v=v1beta1;g=meta.k8s.io,application/json"
)
PROTOBUF = "application/vnd.kubernetes.protobuf"
DEVICE_PATH = "/apis/devices.kubeedge.io/v1beta1/namespaces/plant/devices"


def test_paths():
    assert asked("/api/v1", "") == Discovery(("api", "v1"))
    assert asked("/apis/devices.kubeedge.io/v1beta1/", "*/*") == Discovery(("apis", "devices.kubeedge.io", "v1beta1"))
    assert asked("/api/v1/namespaces/shop/pods/web", "") == Get(PODS, "shop", "web", Form.OBJECTS, Include.METADATA)
    assert asked("/api/v1/namespaces/shop/pods/web/status", "") == asked("/api/v1/namespaces/shop/pods/web", "")
    assert asked("/api/v1/namespaces/shop", "") == Get(NAMESPACES, "", "shop", Form.OBJECTS, Include.METADATA)
    everything, one_namespace = asked("/api/v1/pods", ""), asked(DEVICE_PATH, "")
    assert isinstance(everything, List)
    assert (everything.resource, everything.namespace) == (PODS, "")
    assert isinstance(one_namespace, List)
    assert (one_namespace.resource, one_namespace.namespace) == (DEVICES, "plant")


def test_a_watch_of_one_name_is_one_with_a_field_selector():
    watch = asked("/api/v1/namespaces/shop/pods/web?watch=1&resourceVersion=7&timeoutSeconds=5", "")
    assert isinstance(watch, Watch)
    assert (watch.since, watch.timeout_s, watch.namespace) == (7, 5.0, "shop")
    assert watch.selector.wants({}, {"metadata.name": "web"})
    assert not watch.selector.wants({}, {"metadata.name": "db"})


@pytest.mark.parametrize(
    ("accept", "form"),
    [
        ("", Form.OBJECTS),
        ("*/*", Form.OBJECTS),
        ("application/json", Form.OBJECTS),
        (f"{PROTOBUF}, application/json", Form.OBJECTS),
        (TABLE, Form.TABLE),
        ("application/json;as=Table;v=v1beta1;g=meta.k8s.io, */*;q=0.8", Form.OBJECTS),
    ],
)
def test_the_first_form_that_is_served_is_taken(accept, form):
    wanted = asked("/api/v1/pods", accept)
    assert isinstance(wanted, List)
    assert wanted.form is form


@pytest.mark.parametrize(
    ("target", "accept", "status"),
    [
        ("/api/v1/secrets", "", 404),
        ("/api/v1/namespaces/shop/secrets/s", "", 404),
        ("/api/v1/namespaces/shop/pods/web/log", "", 404),
        ("/api/v1/namespaces/shop/pods/web/status/more", "", 404),
        ("/api/v1/namespaces/shop/nodes", "", 404),
        ("/api/v1/pods/web", "", 404),
        ("/api/v1//pods", "", 404),
        ("//[", "", 404),
        ("/api/v1/pods/%ff", "", 404),
        ("/api/v1/pods/%00", "", 404),
        ("/api/v1/pods", PROTOBUF, 406),
        ("/api/v1/pods", "application/yaml", 406),
        ("/api/v1/pods", "application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1", 406),
        ("/openapi/v2", "application/com.github.proto-openapi.spec.v2@v1.0+protobuf", 406),
        ("/api/v1/pods?limit=x", "", 400),
        ("/api/v1/pods?limit=-1", "", 400),
        ("/api/v1/pods?watch=maybe", "", 400),
        ("/api/v1/pods?resourceVersion=abc", "", 400),
        ("/api/v1/pods?labelSelector=a%20in%20(b", "", 400),
        ("/api/v1/pods?fieldSelector=spec.foo%3D1", "", 400),
        ("/api/v1/pods?includeObject=All", "", 400),
        ("/api/v1/pods?labelSelector=%ff", "", 400),
        ("/api/v1/pods?" + "&".join(f"x{n}=1" for n in range(50)), "", 400),
        ("/api/v1/pods?continue=abc&resourceVersion=5", "", 400),
        ("/api/v1/pods?resourceVersionMatch=Exact", "", 422),
        ("/api/v1/pods?resourceVersionMatch=Exact&resourceVersion=0", "", 422),
        ("/api/v1/pods?resourceVersionMatch=Near&resourceVersion=1", "", 422),
        ("/api/v1/pods?watch=1&sendInitialEvents=true", "", 422),
        ("/api/v1/pods?watch=1&resourceVersionMatch=NotOlderThan", "", 422),
    ],
)
def test_what_is_not_served_is_told(target, accept, status):
    with pytest.raises(ApiError) as caught:
        asked(target, accept)
    assert caught.value.status == status
    body = caught.value.body()
    assert (body["kind"], body["code"]) == ("Status", status)
    assert body["message"]


@given(st.text(st.characters(max_codepoint=255), max_size=60), st.text(st.characters(max_codepoint=255), max_size=40))
def test_any_target_is_read_or_told(target, accept):
    told = set()
    for path in (target, f"/api/v1/pods?{target}", f"/api/v1/namespaces/{target}"):
        try:
            asked(path, accept)
        except ApiError as error:
            told.add(error.status)
    assert told <= {400, 404, 406, 422}
