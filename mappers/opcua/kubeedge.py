"""KubeEdge's OPC UA keys, rewritten as ours; pure.

v1alpha2  protocol.opcua {url, userName, password, securityPolicy, securityMode, certificate, privateKey, timeout},
          common.customizedValues {remoteCertificate}; visitor opcua {nodeID, browseName}
v1beta1   the same keys in one configData
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

_CONNECTION_KEYS: Final = {
    "userName": "user",
    "username": "user",
    "remoteCertificate": "serverCertificate",
    "privatekey": "privateKey",
}
_GROUPS: Final = ("opcua", "common", "customizedValues")
_SECONDS_BELOW: Final = 100
"""KubeEdge never fixed the unit of ``timeout``; its own mapper takes seconds."""


def native_connection(given: Mapping[str, object]) -> dict[str, object]:
    """The connection's keys under our names; keys of ours and unknown ones pass unchanged.

    A password that is a path is the name of a file, as KubeEdge's mapper has it.
    """
    native = {_CONNECTION_KEYS.get(key, key): value for key, value in given.items()}
    if "timeout" in native and not native.keys() & {"timeoutMs", "timeout_ms"}:
        native["timeoutMs"] = _milliseconds(native.pop("timeout"))
    password = native.get("password")
    if isinstance(password, str) and password.startswith("/") and "passwordFile" not in native:
        native["passwordFile"] = native.pop("password")
    return {key: value for key, value in native.items() if value not in ("", None)}


def native_point(given: Mapping[str, object]) -> dict[str, object]:
    """A KubeEdge visitor as a native point: ``browseName`` only tells people what the node id means."""
    native = {key: value for key, value in given.items() if key not in ("nodeID", "browseName")}
    return {"nodeId": given["nodeID"], **native}


def flat(config: Mapping[str, object]) -> dict[str, object]:
    """Open the groups of the older API."""
    opened: dict[str, object] = {}
    for key, value in config.items():
        if key in _GROUPS and isinstance(value, Mapping):
            opened |= flat(value)
        else:
            opened[key] = value
    return opened


def _milliseconds(timeout: object) -> object:
    try:
        number = float(str(timeout))
        return round(number * 1000) if number < _SECONDS_BELOW else round(number)
    except (ValueError, OverflowError):  # no number, or one without end
        return timeout  # the model's own check refuses it by name
