"""Pods made of a few words."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from edgehub.pods.model import PodId, PodPlan, container_plans
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
