"""Requests and replies of the verbs that only the cloud has: set-where, renew, audit, workloads; and its own status."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field

from twin.wire.messages import ErrorBody, Millis, Wire


class SetWhereRequest(Wire):
    """Write desired values of every twin that fits a condition of the query language, as many as there are.

    Each twin for itself: one that refuses keeps none of the others from changing. ``dry_run`` only counts.
    """

    where: Annotated[str, Field(min_length=1, description="what stands behind WHERE in a query")]
    desired: dict[str, Any] = Field(default_factory=dict)
    unset: list[str] = Field(default_factory=list)
    dry_run: bool = False


class RefusedTwin(Wire):
    """A twin that a bulk set left as it was."""

    twin: str
    error: ErrorBody


class SetWhereReply(Wire):
    """How far a bulk set is; the last reply is ``finished``. Twins that were done are on disk."""

    matched: int
    done: int = 0
    refused: int = 0
    errors: Annotated[list[RefusedTwin], Field(description="the refusals since the last reply, 20 of all at most")] = (
        Field(default_factory=list)
    )
    finished: bool = False


class KeepWatchRequest(Wire):
    """Keep the watch with this response topic and correlation data for another 60 s, or ``stop`` it."""

    stop: bool = False


class GatewayBody(Wire):
    """One gateway as the cloud sees it."""

    gateway: str
    online: bool = False
    heard_at: Annotated[Millis, Field(description="when its session was last heard of, to a second or two")] = 0
    session: str = ""
    mending: Annotated[bool, Field(description="the cloud's store was restored and is being completed")] = False
    unacked: Annotated[bool, Field(description="something was written here that the gateway has not yet")] = False
    commands: Annotated[int, Field(description="commands that have not ended")] = 0


class CloudStatusReply(Wire):
    """How the cloud is, and a page of its gateways in the order of their names."""

    version: str
    gateways: list[GatewayBody] = Field(default_factory=list)
    after: str = ""


class AuditRequest(Wire):
    """Ask who changed what; the newest entries, or those of one account."""

    since: Millis = 0
    account: str = ""
    limit: Annotated[int, Field(ge=1, le=1000)] = 100


class AuditBody(Wire):
    """One entry of the audit log."""

    at: Millis
    account: str
    action: str
    subject: str = ""
    what: str = ""
    outcome: str = ""


class AuditReply(Wire):
    """Entries, oldest first."""

    entries: list[AuditBody] = Field(default_factory=list)


class WorkloadsRequest(Wire):
    """Ask what the cloud itself is to have run: a page of its pods, or of its Deployments."""

    kind: Literal["pods", "deployments"] = "pods"
    namespace: str = ""
    after: Annotated[str, Field(description="the last namespace/name of the page before")] = ""
    limit: Annotated[int, Field(ge=1, le=1000)] = 200


class CloudPodBody(Wire):
    """One pod: where it was put, and what its gateway reports of it."""

    pod: Annotated[str, Field(description="namespace/name")]
    deployment: Annotated[str, Field(description="the Deployment that it was made for")] = ""
    gateway: Annotated[str, Field(description="empty: none yet, and reason says why")] = ""
    phase: str = "Pending"
    ready: bool = False
    restarts: int = 0
    reason: str = ""
    message: str = ""
    cut_off: Annotated[bool, Field(description="nothing is heard of the gateway: the rest is what it said last")] = (
        False
    )
    may_run_at: Annotated[list[str], Field(description="gateways it was taken from that may not have ended it yet")] = (
        Field(default_factory=list)
    )
    deleted: Annotated[bool, Field(description="it is only here because of may_run_at")] = False


class CloudDeploymentBody(Wire):
    """One Deployment: how many pods it asks for, and how many there are."""

    deployment: Annotated[str, Field(description="namespace/name")]
    replicas: int
    pods: int = 0
    current: Annotated[int, Field(description="of them, made from the template as it is now")] = 0
    placed: int = 0
    ready: int = 0
    reason: Annotated[str, Field(description="what keeps a pod of it from having a gateway")] = ""


class WorkloadsReply(Wire):
    """A page by namespace and name."""

    pods: list[CloudPodBody] = Field(default_factory=list)
    deployments: list[CloudDeploymentBody] = Field(default_factory=list)
    after: str = ""
