"""The podman engine without podman: what it is told, what its answers hold, what its log says."""

from __future__ import annotations

import tomllib
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgehub.pods.cri_log import PlainText
from edgehub.pods.model import Launch, Mount, PodDns, PodId, PodPlan
from edgehub.pods.podman.api import Frames
from edgehub.pods.podman.bodies import LogFile, Names, container_body, network_body, pod_body, run_of
from edgehub.pods.podman.conf import Machine, PodmanPlace, containers_conf, storage_conf
from edgehub.pods.podman.replies import Config
from twin.manifest.kube import PodSpec
from twin.manifest.kube_engine import engine_of, full_reference
from twin.manifest.kube_fields import Engine, PullPolicy

pytestmark = pytest.mark.fast

POD = PodId("shop", "web", "u-1")
NAMES = Names("0123456789ab")
LOG = LogFile("/pods/log", 20)
PLACE = PodmanPlace(Path('/var/lib/a "b"'), Path("/run/edgetwin/x"))


def launched(**what: Any) -> Launch:
    said = {"pod": POD, "container": "app", "run": 3, "crashes": 0, "image": "nginx", "pull": PullPolicy.ALWAYS}
    said |= {"command": (), "args": (), "env": {}, "cwd": "", "mounts": (), "cpu_milli": 0, "memory_bytes": 0}
    return Launch(**(said | what))


def spec_of(**what: Any) -> PodSpec:
    return PodSpec.model_validate({"containers": [{"name": "app", "image": "nginx"}], **what})


def test_a_container_is_started_once_and_told_of_no_probe() -> None:
    body = container_body(launched(), spec_of(), LOG, NAMES)
    assert (body["restart_policy"], body["image"]) == ("no", "docker.io/library/nginx:latest")
    assert not {"healthconfig", "entrypoint", "command", "work_dir", "resource_limits", "netns"} & body.keys()
    assert body["pod"] == NAMES.pod(POD)
    labels = body["labels"]
    assert isinstance(labels, dict)
    assert labels["io.kubernetes.container.name"] == "app"
    assert run_of({key: str(value) for key, value in labels.items()}) == 3


def test_a_command_takes_the_place_of_the_images_program_and_arguments_of_its_arguments() -> None:
    said = container_body(launched(command=("a", "b"), args=("c",), cwd="/w"), spec_of(), LOG, NAMES)
    assert (said["entrypoint"], said["command"], said["work_dir"]) == (["a", "b"], ["c"], "/w")
    assert "entrypoint" not in container_body(launched(args=("c",)), spec_of(), LOG, NAMES)


def test_limits_mounts_and_the_gateways_network() -> None:
    mounts = (Mount("/src", "/dst", True), Mount("/a", "/b", False))
    said = launched(mounts=mounts, cpu_milli=1, memory_bytes=9)
    body = container_body(said, spec_of(hostNetwork=True), LOG, NAMES)
    assert (body["netns"], "pod" in body) == ({"nsmode": "host"}, False)
    assert body["resource_limits"] == {"cpu": {"quota": 1000, "period": 100_000}, "memory": {"limit": 9}}
    told = body["mounts"]
    assert isinstance(told, list)
    assert [one["options"][-1] for one in told if isinstance(one, dict)] == ["ro", "rw"]


def test_only_ports_with_a_host_port_are_published() -> None:
    ports = [{"containerPort": 80}, {"containerPort": 81, "hostPort": 8081, "protocol": "UDP"}]
    spec = spec_of(containers=[{"name": "app", "image": "nginx", "ports": ports}])
    assert pod_body(POD, spec, NAMES)["portmappings"] == [{"container_port": 81, "host_port": 8081, "protocol": "udp"}]
    assert "portmappings" not in pod_body(POD, spec_of(), NAMES)


def test_a_pod_asks_the_mesh_for_names_and_looks_in_its_own_namespace_first() -> None:
    body = pod_body(POD, spec_of(), NAMES, PodDns("10.96.0.10", "cluster.local"))
    assert body["dns_server"] == ["10.96.0.10"]
    assert body["dns_search"] == [f"{POD.namespace}.svc.cluster.local", "svc.cluster.local", "cluster.local"]
    assert "dns_server" not in pod_body(POD, spec_of(), NAMES)


def test_two_hubs_and_two_pods_never_share_a_name() -> None:
    others = [Names("ba9876543210").container(POD, "app"), NAMES.container(PodId("shop", "web", "u-2"), "app")]
    assert NAMES.container(POD, "app") not in others
    assert len(str(network_body(NAMES.hub, "")["network_interface"])) <= 15, "the kernel takes no more"


@pytest.mark.parametrize(
    ("systemd", "unified", "runc", "said"),
    [
        (True, True, True, {}),
        (False, False, True, {"cgroup_manager": "cgroupfs", "runtime": "runc"}),
        (False, True, True, {"cgroup_manager": "cgroupfs"}),
        (True, False, False, {}),
    ],
)
def test_podman_is_told_what_it_does_not_find_out(
    systemd: bool, unified: bool, runc: bool, said: dict[str, str]
) -> None:
    conf = tomllib.loads(containers_conf(PLACE, Machine(20000, 300, systemd, unified, runc)))
    assert conf["engine"] == {
        "events_logger": "none",
        "tmp_dir": "/run/edgetwin/x/libpod",
        "exit_command_delay": 10,
        **said,
    }
    assert conf["containers"]["default_ulimits"] == ["nofile=20000:20000", "nproc=300:300"]
    assert tomllib.loads(storage_conf(PLACE))["storage"]["graphroot"] == '/var/lib/a "b"/storage'


def test_the_path_of_the_socket_is_short_whatever_the_folder() -> None:
    assert len(str(PodmanPlace.of(Path("/" + "deep/" * 100)).socket)) < 60


@pytest.mark.parametrize(
    ("image", "full"),
    [
        ("nginx", "docker.io/library/nginx:latest"),
        ("nginx:1.27", "docker.io/library/nginx:1.27"),
        ("acme/app", "docker.io/acme/app:latest"),
        ("docker.io/nginx", "docker.io/library/nginx:latest"),
        ("localhost/app:1", "localhost/app:1"),
        ("registry.plant.example:5000/a/b:v1", "registry.plant.example:5000/a/b:v1"),
        ("plant:5000/app", "plant:5000/app:latest"),
        ("ghcr.io/a/b@sha256:" + "0" * 64, "ghcr.io/a/b@sha256:" + "0" * 64),
        ("ghcr.io/a/b:1@sha256:" + "0" * 64, "ghcr.io/a/b@sha256:" + "0" * 64),
        ("Nginx", None),
        ("nginx latest", None),
        ("nginx:", None),
        ("a//b", None),
        ("", None),
        ("-rm", None),
        ("a" * 600, None),
    ],
)
def test_names_of_images_are_completed_as_kubernetes_does(image: str, full: str | None) -> None:
    assert full_reference(image) == full


@pytest.mark.parametrize(
    ("runtime", "images", "engine"),
    [
        ("", ["host"], Engine.PROCESS),
        ("", ["file:///root.tar", "host"], Engine.PROCESS),
        ("", ["nginx"], Engine.PODMAN),
        ("", ["host", "nginx"], Engine.PODMAN),
        ("process", ["nginx"], Engine.PROCESS),
        ("podman", ["host"], Engine.PODMAN),
    ],
)
def test_the_engine_is_the_one_named_or_the_one_that_runs_the_images(
    runtime: str, images: list[str], engine: Engine, plan_of: Callable[..., PodPlan]
) -> None:
    containers = [{"name": f"c{number}", "image": image} for number, image in enumerate(images)]
    assert engine_of(plan_of({"runtimeClassName": runtime, "containers": containers}).spec) is engine


def cut(data: bytes, at: list[int]) -> list[bytes]:
    places = sorted({0, len(data), *(one % (len(data) + 1) for one in at)})
    return [data[one:other] for one, other in pairwise(places)]


@given(st.lists(st.binary(max_size=300)), st.lists(st.integers(0, 5000)))
def test_output_comes_out_of_its_frames_however_it_is_cut(pieces: list[bytes], at: list[int]) -> None:
    stream = b"".join(bytes([1 + (len(one) & 1), 0, 0, 0]) + len(one).to_bytes(4, "big") + one for one in pieces)
    frames = Frames()
    assert b"".join(frames.feed(chunk) for chunk in cut(stream, at)) == b"".join(pieces)


LINES = st.lists(st.tuples(st.binary(max_size=50).map(lambda one: one.replace(b"\n", b"")), st.booleans()))


@given(LINES, st.lists(st.integers(0, 5000)))
def test_a_log_is_plain_however_it_is_cut(lines: list[tuple[bytes, bool]], at: list[int]) -> None:
    head = b"2026-11-28T06:25:24.673060483+00:00 stdout "
    data = b"".join(head + (b"F " if whole else b"P ") + text + b"\n" for text, whole in lines)
    plain = PlainText()
    wanted = b"".join(text + (b"\n" if whole else b"") for text, whole in lines)
    assert b"".join(plain.feed(chunk) for chunk in cut(data, at)) == wanted


@pytest.mark.parametrize(("told", "number"), [(15, 15), ("SIGQUIT", 3), ("usr1", 10), ("2", 2), ("", 15), ("SIGX", 15)])
def test_the_signal_that_stops_is_a_number_or_a_name(told: int | str, number: int) -> None:
    assert Config.model_validate({"StopSignal": told}).stop_signal == number


def test_a_line_that_is_in_no_format_stays() -> None:
    assert PlainText().feed(b"what is this\n") == b"what is this\n"
