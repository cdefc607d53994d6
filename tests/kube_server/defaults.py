"""What a real API server and its admission add to a pod or a service that somebody creates."""

import copy
import secrets
import string

_CONTAINER = {"terminationMessagePath": "/dev/termination-log", "terminationMessagePolicy": "File", "resources": {}}
_PROBE = {"timeoutSeconds": 1, "periodSeconds": 10, "successThreshold": 1, "failureThreshold": 3}
_SPEC = {
    "restartPolicy": "Always",
    "terminationGracePeriodSeconds": 30,
    "dnsPolicy": "ClusterFirst",
    "serviceAccountName": "default",
    "serviceAccount": "default",
    "securityContext": {},
    "schedulerName": "default-scheduler",
    "priority": 0,
    "enableServiceLinks": True,
    "preemptionPolicy": "PreemptLowerPriority",
}
_TOLERATIONS = [
    {"key": f"node.kubernetes.io/{key}", "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": 300}
    for key in ("not-ready", "unreachable")
]
_TOKEN_PLACE = "/var/run/secrets/kubernetes.io/serviceaccount"


def suffix(length=5):
    return "".join(secrets.choice(string.ascii_lowercase + string.digits) for _ in range(length))


def defaulted(kind, new):
    if kind == "Pod":
        return _pod(copy.deepcopy(new))
    if kind == "Service":
        return _service(copy.deepcopy(new))
    return new


def _pod(pod):
    spec = pod.setdefault("spec", {})
    for name, value in _SPEC.items():
        spec.setdefault(name, copy.deepcopy(value))
    tolerations = spec.setdefault("tolerations", [])
    tolerations += [one for one in copy.deepcopy(_TOLERATIONS) if one["key"] not in {t.get("key") for t in tolerations}]
    token = f"kube-api-access-{suffix()}"
    if spec.get("automountServiceAccountToken", True):
        spec.setdefault("volumes", []).append({"name": token, "projected": _projected()})
    for container in (*spec.get("initContainers", ()), *spec.get("containers", ())):
        _container(container, spec)
        if spec.get("automountServiceAccountToken", True):
            mount = {"name": token, "readOnly": True, "mountPath": _TOKEN_PLACE}
            container.setdefault("volumeMounts", []).append(mount)
    for volume in spec.get("volumes", ()):
        if set(volume) == {"name"}:
            volume["emptyDir"] = {}
        for source in ("configMap", "secret"):
            if source in volume:
                volume[source].setdefault("defaultMode", 0o644)
        if "hostPath" in volume:
            volume["hostPath"].setdefault("type", "")
    pod["status"] = {"phase": "Pending", "qosClass": "BestEffort"}
    return pod


def _container(container, spec):
    for name, value in _CONTAINER.items():
        container.setdefault(name, copy.deepcopy(value))
    image = container.get("image", "")
    tag = image.rpartition("/")[2].partition(":")[2] or "latest"
    container.setdefault("imagePullPolicy", "Always" if tag == "latest" else "IfNotPresent")
    resources = container["resources"]
    for name, limit in resources.get("limits", {}).items():
        resources.setdefault("requests", {}).setdefault(name, limit)
    for port in container.get("ports", ()):
        port.setdefault("protocol", "TCP")
        if spec.get("hostNetwork"):
            port.setdefault("hostPort", port["containerPort"])
    for kind in ("livenessProbe", "readinessProbe", "startupProbe"):
        if kind in container:
            for name, value in _PROBE.items():
                container[kind].setdefault(name, value)
            if "httpGet" in container[kind]:
                container[kind]["httpGet"].setdefault("scheme", "HTTP")
                container[kind]["httpGet"].setdefault("path", "/")
    for variable in container.get("env", ()):
        reference = variable.get("valueFrom", {}).get("fieldRef")
        if reference is not None:
            reference.setdefault("apiVersion", "v1")


def _projected():
    return {
        "defaultMode": 0o644,
        "sources": [
            {"serviceAccountToken": {"expirationSeconds": 3607, "path": "token"}},
            {"configMap": {"name": "kube-root-ca.crt", "items": [{"key": "ca.crt", "path": "ca.crt"}]}},
            {
                "downwardAPI": {
                    "items": [
                        {"path": "namespace", "fieldRef": {"apiVersion": "v1", "fieldPath": "metadata.namespace"}}
                    ]
                }
            },
        ],
    }


def _service(service):
    spec = service.setdefault("spec", {})
    spec.setdefault("type", "ClusterIP")
    spec.setdefault("sessionAffinity", "None")
    if spec["type"] != "ExternalName":
        spec.setdefault("clusterIP", f"10.96.{secrets.randbelow(256)}.{1 + secrets.randbelow(254)}")
        spec.setdefault("clusterIPs", [spec["clusterIP"]])
        spec.setdefault("ipFamilies", ["IPv4"])
        spec.setdefault("ipFamilyPolicy", "SingleStack")
        spec.setdefault("internalTrafficPolicy", "Cluster")
    for port in spec.get("ports", ()):
        port.setdefault("protocol", "TCP")
        port.setdefault("targetPort", port["port"])
    service["status"] = {"loadBalancer": {}}
    return service
