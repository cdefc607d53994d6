"""What a request to the Kubernetes API may end with.

KubeError
├── Unreachable      no answer, or one that ends in the middle
├── Denied           401 or 403: the token or its roles do not allow it
├── Busy             429 or 5xx: later, perhaps in ``retry_after_s``
├── Expired          410: the version is too old, list again
├── Conflict         409: another write came first
├── Absent           404: no such object, or no such resource
├── Rejected         any other refusal: the request is wrong as it is
└── OtherCluster     the address leads to another cluster than before
"""

from __future__ import annotations

from twin.errors import EdgetwinError


class KubeError(EdgetwinError):
    """Root of what goes wrong with the Kubernetes API."""

    code = "kube_error"


class Unreachable(KubeError):
    """No answer, or one that ends in the middle."""

    code = "kube_unreachable"


class Denied(KubeError):
    """The token or its roles do not allow it."""

    code = "kube_denied"


class Busy(KubeError):
    """The API server asks for patience."""

    code = "kube_busy"

    def __init__(self, message: str, *, remedy: str = "", retry_after_s: float = 0.0) -> None:
        super().__init__(message, remedy=remedy)
        self.retry_after_s = retry_after_s


class Expired(KubeError):
    """The version to go on from is no longer kept."""

    code = "kube_expired"


class Conflict(KubeError):
    """Another write came first, or another object has the name."""

    code = "kube_conflict"


class Absent(KubeError):
    """No such object, or no such resource."""

    code = "kube_absent"


class Rejected(KubeError):
    """The API server refuses the request as it is."""

    code = "kube_rejected"


class OtherCluster(KubeError):
    """The address leads to another cluster than before."""

    code = "kube_other_cluster"
