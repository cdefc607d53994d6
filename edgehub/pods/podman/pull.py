"""Images that podman is to have before a container starts."""

from __future__ import annotations

from edgehub.pods.podman.api import PodmanApi, Refused
from edgehub.pods.podman.http import ServiceAway
from edgehub.pods.spec import CannotStart, Why
from twin.manifest.kube_engine import full_reference
from twin.manifest.kube_fields import PullPolicy

LOCAL = "localhost/"
_LOAD = "Load it with `podman load` or `podman import`; docs/pods.md says how to reach the hub's podman."


async def fetch(api: PodmanApi, image: str, policy: PullPolicy) -> None:
    """See that an image is there, pulled as the policy says. Raises CannotStart."""
    name = full_reference(image) or image
    try:
        local = name.startswith(LOCAL)
        if (local or policy is not PullPolicy.ALWAYS) and await api.has_image(name):
            return
        if local:
            raise CannotStart(Why.IMAGE, f"the image {name} is not on this gateway", remedy=_LOAD)
        if policy is PullPolicy.NEVER:
            text = f"the image {name} is not on this gateway, and imagePullPolicy is Never"
            raise CannotStart(Why.NEVER_PULL, text, remedy=_LOAD)
        await api.pull(name)
    except Refused as error:
        text = f"the image {name} cannot be pulled: {error.message}"
        raise CannotStart(Why.IMAGE, text, remedy="Check its name, its registry and the network.") from None
    except TimeoutError:
        raise CannotStart(Why.IMAGE, f"the image {name} cannot be pulled in time") from None
    except ServiceAway as error:
        raise CannotStart(Why.IMAGE, error.message, remedy=error.remedy) from None
