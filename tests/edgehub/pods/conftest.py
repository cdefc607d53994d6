"""Pods made of a few words."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from edgehub.pods.model import PodId, PodPlan, container_plans
from tests.edgehub.pods.own_podman import OwnPodman, missing, own_podman
from twin.manifest.kube import PodSpec


def make_plan(spec: dict[str, Any], *, name: str = "web", uid: str = "u-1", fingerprint: str = "f") -> PodPlan:
    read = PodSpec.model_validate(spec)
    return PodPlan(
        id=PodId("default", name, uid),
        fingerprint=fingerprint,
        restart=read.restart_policy,
        grace_s=read.termination_grace_period_seconds,
        containers=container_plans(read),
        spec=read,
    )


@pytest.fixture
def plan_of() -> Callable[..., PodPlan]:
    return make_plan


@pytest.fixture(scope="session")
def podman(tmp_path_factory: pytest.TempPathFactory, worker_id: str) -> Iterator[OwnPodman]:
    """A podman whose containers all go at the end; tests tell theirs apart by the folder of their pods."""
    if why := missing():
        pytest.skip(why)
    number = int(worker_id.removeprefix("gw")) if worker_id.startswith("gw") else 99
    with own_podman(tmp_path_factory.mktemp("podman"), f"10.87.{number}.0/24") as made:
        yield made
