"""What a Kubernetes client is told when it gets no object: a ``Status`` with the code and reason that it knows."""

from __future__ import annotations

from typing import Final

from twin.errors import EdgetwinError
from twin.model import Value

READ_ONLY: Final = (
    "this API is read-only: change documents with `edgetwin apply`, in the cloud, or in the cluster behind it"
)


class ApiError(EdgetwinError):
    """A request of a Kubernetes client that is not granted; ``status`` and ``reason`` are Kubernetes' own."""

    code = "kube_api"

    def __init__(self, status: int, reason: str, message: str) -> None:
        super().__init__(message)
        self.status = status
        self.reason = reason

    def body(self) -> dict[str, Value]:
        """The Status object."""
        return {
            "kind": "Status",
            "apiVersion": "v1",
            "metadata": {},
            "status": "Failure",
            "message": self.message,
            "reason": self.reason,
            "code": self.status,
        }


def bad_request(message: str) -> ApiError:
    """400: the request cannot be understood."""
    return ApiError(400, "BadRequest", message)


def unauthorized() -> ApiError:
    """401: no token, or a wrong one."""
    return ApiError(401, "Unauthorized", "Unauthorized")


def not_found(what: str = "") -> ApiError:
    """404: there is no such object, or no such resource."""
    return ApiError(404, "NotFound", what or "the server could not find the requested resource")


def not_allowed() -> ApiError:
    """405: anything but reading."""
    return ApiError(405, "MethodNotAllowed", READ_ONLY)


def not_acceptable() -> ApiError:
    """406: a form that is not served."""
    text = "only the following media types are accepted: application/json, application/json;as=Table;g=meta.k8s.io;v=v1"
    return ApiError(406, "NotAcceptable", text)


def expired(version: object) -> ApiError:
    """410: what has changed since is not known any more, so that the client lists anew."""
    return ApiError(410, "Expired", f"too old resource version: {version}")


def invalid(message: str) -> ApiError:
    """422: options that do not go together."""
    return ApiError(422, "Invalid", message)


def too_many(message: str) -> ApiError:
    """429: more than is served at once."""
    return ApiError(429, "TooManyRequests", message)
